"""Check, edit and convert ONNX graphs."""
