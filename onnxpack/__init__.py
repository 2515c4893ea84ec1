"""One YAML file in; a small, verified, reproducible container image that serves the model out."""

__version__ = "0.1.0"
