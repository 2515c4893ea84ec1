"""Fixtures of the comparisons' tests."""

from command_line import expected, onnxpack

__all__ = ["expected", "onnxpack"]
