"""What is installed in an isolated environment is what was found for it, byte for byte."""

from pathlib import Path
from typing import Any

import pytest
from told import Told
from wheels import make_wheel

import onnxpack.worker.environments
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.spec.model import Model, Spec
from onnxpack.worker.environments import provide_environment
from onnxpack.worker.uv import run_uv

PINNED = Spec(1, "m", Model("sklearn", path="m.joblib", requirements=("joblib==1.0",)), {})


def test_environment_after_an_exchange_of_a_wheel_never_holds_the_other_one(
    tmp_path: Path,
    wheels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_wheel(wheels, "msgspec")

    def exchange(*words: str, **options: Any) -> str:
        if words[:2] == ("pip", "install"):
            make_wheel(wheels, "joblib", code="VALUE = 666\n")
        return run_uv(*words, **options)

    monkeypatch.setattr(onnxpack.worker.environments, "run_uv", exchange)
    python = provide_environment(PINNED, Store(tmp_path / "store"), Told())
    assert python
    (module,) = python.parent.parent.rglob("joblib.py")
    assert module.read_text() == "", "uv had unpacked the one that was found, and took that"
    # Where it has not, there is nothing to take.
    make_wheel(wheels, "joblib")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(EngineError, match=r"cannot install the packages of model\.requirements"):
        provide_environment(PINNED, Store(tmp_path / "other"), Told())
    assert not list((tmp_path / "other" / "environment").iterdir())
