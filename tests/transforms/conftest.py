from pathlib import Path
from typing import Any

import pytest
from echo_models import Make, write_echo

from onnxpack.spec.load import SpecFile


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a spec of a model that gives back what it takes: ``x`` as ``y``."""

    def written(dtype: str, shape: list[Any], opset: int = 18, **fields: Any) -> SpecFile:
        return write_echo(tmp_path, dtype, shape, opset, **fields)

    return written
