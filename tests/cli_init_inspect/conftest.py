import importlib
import json
from typing import Any

import pytest
from command_line import onnxpack, project

__all__ = ["here", "onnxpack", "project"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What init runs in a child process runs in this one, which has imported the frameworks once."""

    def call(function: str, **request: Any) -> Any:
        module, _, name = function.partition(":")
        answer = getattr(importlib.import_module(f"onnxpack.look.{module}"), name)(**json.loads(json.dumps(request)))
        return json.loads(json.dumps(answer))

    monkeypatch.setattr("onnxpack.look.begin.in_child", call)
