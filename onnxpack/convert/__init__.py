"""Converts ONNX to TensorFlow: a SavedModel or a TFLite file."""
