"""A torchvision that was built for another PyTorch is told with the command that mends it."""

from importlib import metadata
from pathlib import Path

import pytest
from exporting import write_spec

from onnxpack.core.errors import SourceError
from onnxpack.worker.torch_builds import explain_torchvision
from onnxpack.worker.user_code import import_attribute, run_factory

LACKS = "operator torchvision::nms does not exist"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Pretend that these versions are installed."""
    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", "torch (==2.13.0)"])
    return versions


def test_different_builds_are_told(installed: dict[str, str]) -> None:
    assert explain_torchvision(RuntimeError(LACKS)) == (
        "torch 2.13.0+cpu and torchvision 0.28.0 are different builds",
        "run `pip install --force-reinstall --no-deps torchvision==0.28.0 "
        "--index-url https://download.pytorch.org/whl/cpu`",
    )
    installed["torch"], installed["torchvision"] = "2.12.1", "0.28.0+cu130"
    assert explain_torchvision(OSError("torchvision/_C.so: undefined symbol: _ZN5torch")) == (
        "torchvision 0.28.0+cu130 was built for another version than torch 2.12.1",
        "run `pip install --force-reinstall torch==2.12.1 torchvision`",
    )


@pytest.mark.parametrize("words", ["no torchvision", "undefined symbol: x", "operator torch::nms does not exist"])
def test_other_errors_are_not_explained(installed: dict[str, str], words: str) -> None:
    assert explain_torchvision(RuntimeError(words)) is None


def test_nothing_is_said_of_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", refuse)
    assert explain_torchvision(RuntimeError(LACKS)) is None


def test_code_that_imports_such_a_torchvision_gets_the_cause(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "vision.py").write_text(f"raise RuntimeError({LACKS!r})\n")
    (tmp_path / "late.py").write_text(f"def make():\n    raise RuntimeError({LACKS!r})\n")
    file = write_spec(tmp_path, {"framework": "torch", "factory": "late.py:make", "weights": "none"})
    with pytest.raises(SourceError) as early:
        import_attribute(file, "vision.py:Net")
    cause = "failed: torch 2.13.0+cpu and torchvision 0.28.0 are different builds (run `pip install"
    assert str(early.value).startswith(f"importing vision.py {cause}")
    with pytest.raises(SourceError) as late:
        run_factory(file, "late.py:make")
    assert str(late.value).startswith(f"late.py:make {cause}")
