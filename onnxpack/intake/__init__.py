"""What clients really send, pictures and texts, made the ONNX file's inputs as in training: by the same libraries."""
