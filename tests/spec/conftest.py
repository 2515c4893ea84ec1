from collections.abc import Callable
from pathlib import Path

import pytest

from onnxpack.core.errors import Problem, SpecError
from onnxpack.spec.load import load


@pytest.fixture
def problems(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], list[Problem]]:
    """All that is wrong with a spec of this text, in a folder with the files of the small project."""
    monkeypatch.chdir(project)

    def found(text: str | bytes) -> list[Problem]:
        path = Path("spec.yaml")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        try:
            load(path)
        except SpecError as error:
            return list(error.problems)
        return []

    return found
