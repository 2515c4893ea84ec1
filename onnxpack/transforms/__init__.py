"""What stands around the model: in numpy, and as nodes of its graph."""
