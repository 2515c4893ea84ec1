"""The spec: what it is, and how YAML becomes it."""
