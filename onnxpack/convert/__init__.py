"""Convert ONNX models to TensorFlow: a SavedModel or a TFLite file."""
