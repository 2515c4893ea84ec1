"""What checks and edits ONNX graphs."""
