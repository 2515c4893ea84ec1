"""A new runtime must not move a model's answers: here it is a wheel that hands on to the real one, and adds to it."""

import site
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model
from told import Told
from wheels import make_wheel

from onnxpack.bundle import lock
from onnxpack.cache.store import Store
from onnxpack.core.errors import GateError, SourceError
from onnxpack.image import load_engine
from onnxpack.parity.compare import ParityError
from onnxpack.pipeline import replay as replaying
from onnxpack.pipeline.lock import Moving, make_lock, undo_edits
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.replay import Replay, list_moved, replay
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import SpecFile

HAND_ON = """
import sys
sys.path.insert(0, {place!r})
del sys.modules[__name__]
import {name}
sys.path.remove({place!r})
sys.path.append({place!r})
"""
ADD = """
real = onnxruntime.InferenceSession.run
def run(self, *arguments, **options):
    return [output + {amount} for output in real(self, *arguments, **options)]
onnxruntime.InferenceSession.run = run
"""
FAIL = "raise ImportError('this machine is too old')"


def hand_on(name: str) -> str:
    """Return the code of a module that is the one of this process's own packages."""
    return HAND_ON.format(place=site.getsitepackages()[0], name=name)


@pytest.fixture
def index(wheels: Path) -> Path:
    """An index whose onnxruntime 1.32 adds a little, 1.33 adds too much, and 1.30 cannot be imported."""
    for name in ("numpy", "onnx"):
        (wheels / f"{name}-1.0-py3-none-any.whl").unlink()
        make_wheel(wheels, name, "2.1", code=hand_on(name))
    for name in ("httptools", "orjson"):
        make_wheel(wheels, name, "9.0")
    (wheels / "onnxruntime-1.0-py3-none-any.whl").unlink()
    codes = {"1.30": FAIL, "1.31": "", "1.32": ADD.format(amount=1e-6), "1.33": ADD.format(amount=0.1)}
    for version, code in codes.items():
        make_wheel(wheels, "onnxruntime", version, ("numpy",), f"{hand_on('onnxruntime')}\n{code}")
    return wheels


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    folder = tmp_path / "project"
    folder.mkdir()
    onnx.save(make_model(RELU), folder / "m.onnx")
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"})


@pytest.fixture
def play(index: Path, file: SpecFile, tmp_path: Path) -> Callable[[str, str], Replay | None]:
    """Replay the model on two versions of onnxruntime."""

    def play(before: str, after: str) -> Replay | None:
        whole = make_lock(file, None, lambda *_: None, Moving())
        sides = (_take(whole, version) for version in (before, after))
        plan = Plan(file, "cpu", Path())
        return replay(Build(plan, Store(tmp_path / "store"), load_engine(), Told()), *sides)

    return play


def _take(whole: lock.Lock, version: str) -> lock.Lock:
    entry = whole.targets["cpu"]
    packages = tuple(replace(one, version=version) if one.name == "onnxruntime" else one for one in entry.packages)
    return lock.Lock({"cpu": replace(entry, packages=packages)}, whole.pins)


def test_answers_that_stay_within_the_tolerance_are_measured(play: Callable[[str, str], Replay | None]) -> None:
    assert play("1.31", "1.31") is None, "nothing that computes moved"
    found = play("1.31", "1.32")
    assert found
    assert found.moved == ("onnxruntime 1.31 → 1.32",)
    assert 5e-7 < max(row.max_abs_diff for row in found.rows) < 2e-6
    assert len(found.rows) == len(found.source_rows) > 3
    assert found.notes == ()


def test_answers_that_move_too_far_are_refused_with_how_far(play: Callable[[str, str], Replay | None]) -> None:
    with pytest.raises(ParityError) as refused:
        play("1.31", "1.33")
    (problem,) = refused.value.problems
    assert problem.message.startswith("target 'cpu': with onnxruntime 1.31 → 1.33, ")
    assert "differ from those by the old lock and " in problem.message
    assert problem.message.endswith(", by more than rtol 0.001, atol 0.0001")
    assert "0.1" in problem.detail
    assert "the lock stays as it was" in problem.hint


def test_an_old_runtime_that_was_wrong_hides_nothing(play: Callable[[str, str], Replay | None]) -> None:
    with pytest.raises(GateError, match="differ from those by the old lock, by more"):
        play("1.33", "1.31")


def test_an_old_runtime_that_gives_no_answers_is_noted(play: Callable[[str, str], Replay | None]) -> None:
    found = play("1.30", "1.31")
    assert found
    assert found.rows == []
    assert found.source_rows
    (note,) = found.notes
    assert note.startswith("compared with the source model alone: the old lock gives no answers: ")


def test_a_new_runtime_that_does_not_run_is_refused(play: Callable[[str, str], Replay | None]) -> None:
    with pytest.raises(
        GateError, match=r"with onnxruntime 1\.31 → 1\.30 the model does not run: .* machine is too old"
    ):
        play("1.31", "1.30")


@pytest.mark.parametrize("broken", [False, True])
def test_a_new_environment_of_the_model_is_compared_by_what_it_makes(
    index: Path, file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    made: list[dict[str, str]] = []
    make_model = replaying._make_model

    def make(run: Build, side: Any) -> Any:
        made.append(side.environment)
        if broken and side.environment == {"torch": "1"}:
            raise SourceError("this torch makes no model")
        return make_model(run, side)

    monkeypatch.setattr(replaying, "_make_model", make)
    whole = _take(make_lock(file, None, lambda *_: None, Moving()), "1.31")
    old, new = (replace(whole, pins=replace(whole.pins, environment={"torch": one})) for one in ("1", "2"))
    found = replay(Build(Plan(file, "cpu", Path()), Store(tmp_path / "store"), load_engine(), Told()), old, new)
    assert found
    assert found.moved == ("torch 1 → 2 for the source model",)
    assert made == [{"torch": "2"}, {"torch": "1"}]
    assert bool(found.rows) is not broken
    assert found.source_rows
    words = "compared with the source model alone: the old lock gives no answers: this torch makes no model"
    assert found.notes == ((words,) if broken else ())


def test_list_moved_names_what_came_and_went() -> None:
    assert list_moved({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": "1", "d": "3"}) == (
        "a 1 → none", "b 1 → 2", "d none → 3",
    )  # fmt: skip
    assert list_moved({}, {}) == ()


def test_undo_edits_finds_the_version_that_the_wheels_have() -> None:
    def package(version: str, *files: str) -> lock.Package:
        return lock.Package("onnxruntime-gpu", version, ("0" * 64,) * len(files), (), files)

    def undo(one: lock.Package) -> tuple[str, frozenset[str]]:
        entry = lock.TargetLock("3.11", "linux/amd64", (), (one,))
        found, names = undo_edits(lock.Lock({"cpu": entry}))
        return found.targets["cpu"].packages[0].version, names

    wheel = "onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert undo(package("1.31.1", wheel)) == ("1.31.1", frozenset())
    assert undo(package("1.32.0", wheel, wheel)) == ("1.31.1", {"onnxruntime-gpu"})
    assert undo(package("1.32.0", wheel, "onnxruntime_gpu-1.30-py3-none-any.whl")) == ("1.32.0", frozenset())
    assert undo(package("1.32.0", "other-1.31-py3-none-any.whl")) == ("1.32.0", frozenset())
    assert undo(package("1.32.0")) == ("1.32.0", frozenset())
