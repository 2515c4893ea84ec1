"""What builds images, and runs them for the smoke test."""
