"""``onnxpack vendor`` tells what is wrong before it asks anybody, and ``build --vendor`` what it cannot do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SMALL, Ended

Run = Callable[..., Ended]


def test_all_specs_that_have_no_lock_are_told(onnxpack: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "other.yaml").write_text(SMALL.replace("name: small", "name: other"))
    ended = onnxpack("vendor", "spec.yaml", "other.yaml", "--output", "bundle.tar")
    assert (ended.code, ended.out) == (2, "")
    for name in ("spec", "other"):
        assert f"{name}.lock: there is no lock\n  → run `onnxpack lock" in ended.err
    assert not (project / "bundle.tar").exists()


def test_specs_that_are_wrong_are_told_together(onnxpack: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name in ("one", "two"):
        (project / f"{name}.yaml").write_text(SMALL.replace("float32", "float31"))
    ended = onnxpack("vendor", "one.yaml", "two.yaml", "--output", "bundle.tar")
    assert ended.code == 2
    assert "one.yaml:" in ended.err
    assert "two.yaml:" in ended.err


def test_a_file_of_somebody_else_is_not_written_over(
    onnxpack: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ended = onnxpack("vendor", "spec.yaml", "--output", "model.onnx")
    assert ended == Ended(
        2, "", "error: 'model.onnx' is there, and is no bundle\n  → choose another --output, or move it away\n"
    )


def test_a_build_from_a_bundle_is_not_for_docker(onnxpack: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    ended = onnxpack("build", "spec.yaml", "--vendor", "model.onnx", "--engine", "docker")
    assert ended.code == 2
    assert "--vendor is for `--engine oci` or none" in ended.err
