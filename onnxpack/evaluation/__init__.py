"""Score a model on labelled data."""
