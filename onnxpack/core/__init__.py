"""Hold what all packages stand on: errors, values, digests, and files that appear whole."""
