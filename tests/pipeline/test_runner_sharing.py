"""What one machine has made another one takes, wherever its work tree is, while all that was read is the same."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_tasks import RunScript, WriteFile
from shared_stores import make_machine
from told import Told

from onnxpack.cache.trace import Trace
from onnxpack.core.artifacts import Artifact
from onnxpack.pipeline.runner import Runner
from onnxpack.worker import Task
from onnxpack.worker.codec import encode

SCRIPT = """
import os
import helper
result = " ".join([helper.WIDTH, open("data.txt").read(), *sorted(os.listdir("parts"))])
"""
TASK = RunScript("script.py")
Ran = tuple[Any, bool]


@pytest.fixture
def clone(tmp_path: Path) -> Callable[[str], Path]:
    """Make a work tree in another place."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "parts").mkdir(parents=True)
        (folder / "parts/a").touch()
        (folder / "data.txt").write_text("data")
        (folder / "helper.py").write_text("WIDTH = '4'\n")
        (folder / "script.py").write_text(SCRIPT)
        return folder

    return make


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a task in a work tree on a machine of that name; tell what it gave, and whether it ran."""

    def run(root: Path, machine: str, task: Task[Any] = TASK, *, writes: bool = True) -> Ran:
        for path in root.rglob("*"):
            os.utime(path, (1, 1))
        with monkeypatch.context() as patch:
            patch.chdir(root)
            patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
            patch.setenv("PYTHONPATH", str(root), prepend=os.pathsep)
            here = make_machine(tmp_path / machine, f"file://{tmp_path}/share", writes=writes)
            runner = Runner(here.store, Told(), root)
            result = runner.run(task)
            here.remote.finish()
        assert here.told == []
        (record,) = runner.records
        return result, not record.cached

    return run


def test_a_clone_elsewhere_takes_what_another_machine_made(
    clone: Callable[[str], Path], build: Callable[..., Ran], tmp_path: Path
) -> None:
    assert build(clone("root"), "a") == ("4 data a", True)
    second = clone("some/where/else")
    assert build(second, "b", writes=False) == ("4 data a", False)
    shutil.rmtree(tmp_path / "share")
    assert build(second, "b") == ("4 data a", False)  # it has the trace by now


def test_files_come_along(clone: Callable[[str], Path], build: Callable[..., Ran]) -> None:
    made, _ = build(clone("root"), "a", WriteFile("text"))
    taken, ran = build(clone("other"), "b", WriteFile("text"))
    assert not ran
    assert taken == Artifact.of(taken.path) == made
    assert taken.path != made.path


@pytest.mark.parametrize("name", ["data.txt", "helper.py", "parts/b"])
def test_what_was_read_and_is_another_makes_a_miss(
    name: str, clone: Callable[[str], Path], build: Callable[..., Ran]
) -> None:
    assert build(clone("root"), "a")[1]
    changed = clone("other")
    (changed / name).write_text("WIDTH = '5'\n")
    assert build(changed, "b")[1]
    assert not build(changed, "c")[1]  # both are shared now
    assert not build(clone("third"), "d")[1]


def test_a_machine_that_has_another_trace_asks_too(clone: Callable[[str], Path], build: Callable[..., Ran]) -> None:
    changed, same = clone("changed"), clone("same")
    (changed / "data.txt").write_text("more")
    assert build(changed, "a")[1]
    assert build(same, "b")[1]
    assert build(clone("again"), "a") == ("4 data a", False)


def test_an_entry_that_was_pruned_here_comes_back_by_the_trace_that_is_here(
    clone: Callable[[str], Path], build: Callable[..., Ran], tmp_path: Path
) -> None:
    root = clone("root")
    assert build(root, "a")[1]
    shutil.rmtree(tmp_path / "a/script")
    assert build(root, "a") == ("4 data a", False)


def test_the_trace_of_a_result_that_is_taken_is_used_now(
    clone: Callable[[str], Path], build: Callable[..., Ran], tmp_path: Path
) -> None:
    root = clone("root")
    build(root, "a")
    (trace,) = (tmp_path / "a/traces/script").iterdir()
    os.utime(trace, (1, 1))
    assert build(root, "a") == ("4 data a", False)
    assert trace.stat().st_mtime > 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x91" * 100_000,
        encode([1]),
        *(
            encode(Trace(**{kind: {name: "0" * 64}}))  # type: ignore[arg-type]
            for kind in ("files", "folders", "imports")
            for name in ("/proc/kcore", "/./proc/kcore", "//proc/kcore", "../out", "a/../../out", "/etc/passwd")
        ),
    ],
)
def test_a_trace_that_no_recorder_leaves_is_not_followed(
    message: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Trace] = []
    monkeypatch.setattr(Trace, "holds", lambda self, root: asked.append(self) or False)
    machine = make_machine(tmp_path / "poisoner", f"file://{tmp_path}/share")
    base = "0" * 64
    machine.remote.give_trace("script", base, message)
    machine.remote.finish()
    assert machine.remote.list_traces("script", base) == [message]
    assert Runner(machine.store, Told(), tmp_path)._recall_shared("script", base) is None
    assert asked == []
