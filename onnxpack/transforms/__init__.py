"""The pre- and postprocessing steps around a model, in numpy and as nodes of its graph."""
