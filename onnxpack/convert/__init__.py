"""ONNX → TensorFlow: a SavedModel or a TFLite file."""
