"""What the tests of faults share: how many attacks they make, and how many more they are asked for."""

import os
from collections.abc import Callable

import pytest
from command_line import onnxpack, project

__all__ = ["onnxpack", "project"]


@pytest.fixture
def factor() -> int:
    """Return by how much a test multiplies its attacks: ``FAULTS``, which ``make faults`` sets, else 1."""
    return int(os.environ.get("FAULTS", "1"))


@pytest.fixture
def count_attacks(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Record how many attacks a test made; ``scripts/reliability`` adds them up by module."""
    return lambda attacks: record_property("attacks", attacks)
