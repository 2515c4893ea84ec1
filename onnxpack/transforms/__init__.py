"""Change what a client sends into what the model takes, and back: in numpy, and as ONNX nodes."""
