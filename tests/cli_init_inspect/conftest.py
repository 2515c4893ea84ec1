from pathlib import Path
from typing import Any

import pytest
from command_line import onnxpack, project

from onnxpack.worker import Task
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.task import result_type

__all__ = ["here", "onnxpack", "project"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What init runs in a child process runs in this one, which has imported the frameworks once."""

    def run(task: Task[Any], **_: Any) -> Any:
        request = decode(encode(task), type(task))
        return decode(encode(request.run(tmp_path, lambda text: None)), result_type(type(task)))

    monkeypatch.setattr("onnxpack.look.begin.call_alone", run)
