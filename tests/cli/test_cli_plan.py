"""``onnxpack plan`` tells what a build would do: nothing, or which stages and why; it does nothing itself."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import SMALL, Ended
from onnx_examples import RELU, make_model

from onnxpack.cli import cli
from onnxpack.core.digests import digest_tree

Run = Callable[..., Ended]
METRIC = "from scale import FACTOR\n\ndef judge(outputs, labels):\n    return FACTOR * float(len(labels))\n"
SCORED = "evaluation: {data: data.npz, labels: labels, metric: 'judge.py:judge'}\nversion: 1.0.0\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree with a spec that was built up to its model."""
    folder = tmp_path_factory.mktemp("built")
    (folder / ".git").mkdir()
    (folder / "spec.yaml").write_text(SMALL + SCORED)
    onnx.save(make_model(RELU), folder / "model.onnx")
    (folder / "judge.py").write_text(METRIC)
    (folder / "scale.py").write_text("FACTOR = 0.125\n")
    rows = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
    np.savez(folder / "data.npz", x=rows, labels=np.arange(8) % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONNXPACK_CACHE", str(folder / "store"))
        patch.chdir(folder)
        # In this process: how Python was started is a part of an installation.
        assert cli.main(["build", "spec.yaml", "--until", "optimize"], standalone_mode=False) == 0
    return folder


@pytest.fixture
def plan(built: Path, monkeypatch: pytest.MonkeyPatch, onnxpack: Run) -> Callable[..., Any]:
    """Plan, see that nothing was written and no process started, and return what was told."""
    monkeypatch.setenv("ONNXPACK_CACHE", str(built / "store"))
    monkeypatch.chdir(built)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("plan starts a process")

    def run(*options: str) -> Any:
        before = digest_tree(built)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refuse)
            ended = onnxpack("plan", "spec.yaml", "--json", *options)
        assert digest_tree(built) == before
        found = json.loads(ended.out)
        return {"code": ended.code, **found["targets"][0]}

    return run


def reasons(found: dict[str, Any]) -> dict[str, list[str]]:
    return {stage["stage"]: stage["reasons"] for stage in found["stages"] if stage["status"] == "runs"}


def test_nothing_is_to_be_done_after_a_build(plan: Callable[..., Any]) -> None:
    found = plan("--detailed-exitcode")
    assert (found["code"], found["status"], found["stages"]) == (0, "unchanged", [])


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("spec.yaml", "version: 1.0.0", "version: 1.0.0\nopset: 18", {"export": ["opset was set to 18"]}),
        ("spec.yaml", "max: 64", "max: 32", {"export": ["dynamic_axes.batch.max 64 → 32"]}),
        ("scale.py", "0.125", "0.25", {"judge": ["scale.py changed"]}),
        ("judge.py", "FACTOR * ", "2 * FACTOR * ", {"judge": ["judge.py changed"]}),
    ],
)
def test_what_changed_is_named_and_later_stages_follow(
    built: Path, plan: Callable[..., Any], file: str, old: str, new: str, expected: dict[str, list[str]]
) -> None:
    text = (built / file).read_text()
    try:
        (built / file).write_text(text.replace(old, new))
        found = plan("--detailed-exitcode")
    finally:
        (built / file).write_text(text)
    assert (found["code"], found["status"], reasons(found)) == (2, "changed", expected)
    statuses = [stage["status"] for stage in found["stages"]]
    place = statuses.index("runs")
    assert statuses == ["unchanged"] * place + ["runs"] + ["follows"] * (len(statuses) - place - 1)


def test_weights_an_effect_and_a_setting_are_told(built: Path, plan: Callable[..., Any]) -> None:
    model = (built / "model.onnx").read_bytes()
    try:
        (built / "model.onnx").write_bytes(model)  # the same content at another time
        assert plan()["status"] == "unchanged"
        (built / "model.onnx").write_bytes(model[:-1])
        assert reasons(plan()) == {"export": ["model.onnx changed"]}
    finally:
        (built / "model.onnx").write_bytes(model)
    found = plan("--set", "dynamic_axes.batch.max=32")
    assert found["effects"] == [{"words": "axis 'batch' took 1 to 64, and takes 1 to 32 now", "breaking": True}]
    assert plan("--set", "runtime.port=9000")["effects"][0]["breaking"]


def test_what_was_never_built_says_so(built: Path, onnxpack: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(built)
    (target,) = json.loads(onnxpack("plan", "spec.yaml", "--json").out)["targets"]
    assert target["status"] == "new"
    assert reasons(target)["export"] == ["it was never built here"]
    assert not (tmp_path / "store").exists()


def test_a_spec_that_cannot_be_read_is_an_error_beside_the_others(
    built: Path, monkeypatch: pytest.MonkeyPatch, onnxpack: Run, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(built / "store"))
    monkeypatch.chdir(built)
    (tmp_path / "bad.yaml").write_text("onnxpack: 1\nname: x\nnonsense: 1\n")
    ended = onnxpack("plan", "spec.yaml", tmp_path / "bad.yaml")
    assert ended.code == 2
    assert "unknown field 'nonsense'" in ended.err
    assert ended.out.endswith("2 targets: 1 failing, 1 unchanged\n")


def test_a_result_that_is_gone_from_the_store_is_told(built: Path, plan: Callable[..., Any]) -> None:
    (built / "store/export").rename(built / "store/elsewhere")
    output = built / "dist/small/cpu.optimize/model.onnx"
    output.rename(output.with_name("moved"))
    try:
        found = plan()
        assert reasons(found) == {"export": ["its stored result is gone"]}
    finally:
        (built / "store/elsewhere").rename(built / "store/export")
    assert reasons(plan()) == {"output": ["model.onnx is missing"]}
