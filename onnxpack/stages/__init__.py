"""The stages of a build: each takes values and gives values; a result that stands already is taken."""
