"""Fixtures of the pages' tests."""

from command_line import expected

__all__ = ["expected"]
