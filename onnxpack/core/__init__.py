"""What all packages stand on: errors, values, and files that appear whole."""
