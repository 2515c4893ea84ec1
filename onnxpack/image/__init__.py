"""Build images, run them, and let them answer for the smoke test."""
