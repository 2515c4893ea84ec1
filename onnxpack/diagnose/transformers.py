"""Finds the first difference of a transformers model, which is a torch module."""

from onnxpack.diagnose.torch import place

__all__ = ["place"]
