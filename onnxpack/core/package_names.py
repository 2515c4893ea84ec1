"""Names of distributions, as package indexes compare them."""

import re


def normalize_name(name: str) -> str:
    """Return a distribution's name in the one form that PEP 503 gives all its spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_pin_name(pin: str) -> str:
    """Return the normalized name of the distribution in a pin: ``onnx`` for ``ONNX[x]==1.2``."""
    return normalize_name(re.split(r"\[|==", pin)[0])
