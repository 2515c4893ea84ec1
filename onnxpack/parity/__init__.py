"""Compare a model's outputs with the source model's own."""
