from pathlib import Path
from typing import Any

import pytest

from onnxpack.worker import Task
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.task import find_result_type


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What init runs in a child process runs in this one, which has imported the frameworks once."""

    def run(task: Task[Any], **_: Any) -> Any:
        request = decode(encode(task), type(task))
        return decode(encode(request.run(tmp_path, lambda text: None)), find_result_type(type(task)))

    monkeypatch.setattr("onnxpack.inspection.begin.call_alone", run)
