"""Names and labels that a cluster takes, made of names that people chose."""

import hashlib
import re

LONGEST_NAME = 45
"""Kubernetes takes 63 characters; controllers append some of their own, as KServe's ``-predictor`` and a Pod's hash."""
_LONGEST_LABEL = 63
_HASH = 8


def make_name(text: str) -> str:
    """Return a name of a resource (RFC 1035: lower-case letters, digits, hyphens; a letter first).

    A name that had to be cut ends with a digest of the whole, so that two do not become one.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"m-{name}".rstrip("-")
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    return f"{name[: LONGEST_NAME - _HASH - 1].rstrip('-')}-{digest}"


def make_label(text: str) -> str:
    """Return a label's value: at most 63 letters, digits, ``-``, ``_`` and ``.``, letters or digits at both ends."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:_LONGEST_LABEL].strip("-_.")
