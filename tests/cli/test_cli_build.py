"""A target of which nothing changed is left as it is, and told as a build that walked the chain tells it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import SMALL, Ended
from onnx_examples import RELU, make_model

Run = Callable[..., Ended]


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two specs that are built; the command runs beside them."""
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    for name in ("one", "two"):
        folder = tmp_path / "specs" / name
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text(SMALL.replace("name: small", f"name: {name}"))
        onnx.save(make_model(RELU), folder / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "specs"


def read(documents: str) -> list[dict[str, Any]]:
    """Return reports without what depends on the clock, and on whether a stage had to run."""
    found: list[dict[str, Any]] = json.loads(documents)
    for report in found:
        for stage in report["stages"]:
            stage.update(seconds=0.0, cached=True)
            stage.pop("why", None)
    return found


def test_a_build_without_changes_leaves_all_as_it_is_and_says_so(specs: Path, onnxpack: Run) -> None:
    first = onnxpack("build", "specs", "--until", "export")
    times = [path.stat().st_ctime_ns for path in sorted(Path("dist").rglob("*"))]
    again = onnxpack("build", "specs", "--until", "export")
    assert (first.code, again.code) == (0, 0)
    assert again.err == "2 specs: 2 unchanged, 0 built, 0 failed\n"
    assert again.out == first.out
    assert [path.stat().st_ctime_ns for path in sorted(Path("dist").rglob("*"))] == times
    walked = onnxpack("build", "specs", "--until", "export", "--no-cache", "--json")
    assert "0 unchanged, 2 built" in walked.err
    passed = onnxpack("build", "specs", "--until", "export", "--json")
    assert passed.err == again.err
    assert read(passed.out) == read(walked.out)
    assert all(stage["cached"] for report in json.loads(passed.out) for stage in report["stages"])
    (specs / "two/spec.yaml").write_text((specs / "two/spec.yaml").read_text() + "description: other\n")
    changed = onnxpack("build", "specs", "--until", "export")
    assert "one" not in changed.err  # it is walked no more than read
    assert changed.out == first.out
    taken = (specs / "two/spec.yaml").read_text().replace("name: two", "name: one")
    (specs / "two/spec.yaml").write_text(taken)
    both = onnxpack("build", "specs", "--until", "export")
    assert both.code == 2
    assert "builds 'one', target 'cpu' too" in both.err


def test_a_spec_that_was_read_alone_builds_its_other_target(specs: Path, onnxpack: Run) -> None:
    text = (specs / "one/spec.yaml").read_text() + "targets:\n  a: {device: cpu}\n  b: {device: cpu}\n"
    (specs / "one/spec.yaml").write_text(text)
    assert onnxpack("build", "specs/one", "--target", "a", "--until", "export").code == 0
    alone = onnxpack("build", "specs/one", "--target", "a", "--until", "export")
    assert alone.err == "one, target a: unchanged\n"
    both = onnxpack("build", "specs/one", "--until", "export")
    assert both.err.startswith("one, target a: unchanged\none, target b\n")
    unknown = onnxpack("build", "specs/one", "--target", "c", "--until", "export")
    assert (unknown.code, "there is no target 'c'" in unknown.err) == (2, True)
