"""Builds images with the Docker Engine, and runs them for the smoke test."""
