"""Read specs: what the fields are, and how YAML becomes them."""
