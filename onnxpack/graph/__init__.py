"""Check and edit ONNX graphs."""
