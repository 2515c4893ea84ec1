"""A stored result answers the same request while all that its task read is as it was, and nothing else does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from runner_tasks import CutShort, Fail, RunScript, WriteFile
from told import Told

import onnxpack.pipeline.runner
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest_file
from onnxpack.core.errors import EngineError, GateError, SourceError
from onnxpack.pipeline.runner import Apart, Runner
from onnxpack.worker import Effort, Task

SCRIPT = """
import os
import helper
result = " ".join([helper.WIDTH, open("data.txt").read(), *sorted(os.listdir("parts"))])
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work tree: a script, a module that it imports, a file that it opens, and a folder that it lists."""
    folder = tmp_path / "root"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts/a").touch()
    (folder / "data.txt").write_text("data")
    (folder / "helper.py").write_text("WIDTH = '4'\n")
    (folder / "script.py").write_text(SCRIPT)
    enter(folder, monkeypatch)
    return folder


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder the working one of children, which import from it and from here."""
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@dataclass
class Work:
    """Runs tasks with a new runner each, as another build would, and tells whether they ran."""

    root: Path
    store: Store

    def __call__(self, task: Task[Any], apart: Apart | None = None) -> tuple[Any, bool]:
        told = Told()
        runner = Runner(self.store, told, self.root)
        result = runner.run(task, apart)
        (record,) = runner.records
        heard = [line for line in told.lines if "waiting" not in line]
        assert heard == [f"{task.NAME} unchanged" if record.cached else task.NAME]
        return result, not record.cached


@pytest.fixture
def work(root: Path, tmp_path: Path) -> Work:
    return Work(root, Store(tmp_path / "cache"))


def entries(work: Work, name: str) -> list[Path]:
    folder = work.store.root / name
    return sorted(folder.iterdir()) if folder.exists() else []


TASK = RunScript("script.py")


def test_a_result_is_found_again_while_nothing_that_counts_changes(work: Work) -> None:
    assert work(TASK) == ("4 data a", True)
    assert work(TASK) == ("4 data a", False)
    for path in work.root.rglob("*"):
        os.utime(path)  # only the contents count
    (work.root / "unread.txt").touch()
    assert work(TASK) == ("4 data a", False)


def test_another_request_is_another_result(work: Work) -> None:
    (work.root / "script.py").write_text("result = value")
    os.utime(work.root / "script.py", (1, 1))
    assert [work(RunScript("script.py", number)) for number in (1, 2, 1)] == [("1", True), ("2", True), ("1", False)]


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the script": (lambda root: (root / "script.py").write_text("result = 'other'"), "other"),
    "an opened file": (lambda root: (root / "data.txt").write_text("more"), "4 more a"),
    "an imported module": (lambda root: (root / "helper.py").write_text("WIDTH = '5'\n"), "5 data a"),
    "a file more in a listed folder": (lambda root: (root / "parts/b").touch(), "4 data a b"),
    "a file less in a listed folder": (lambda root: (root / "parts/a").unlink(), "4 data"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_was_read_gives_a_new_result_and_taken_back_the_old_one(
    work: Work, tmp_path: Path, change: str
) -> None:
    apply, changed = CHANGES[change]
    shutil.copytree(work.root, tmp_path / "before")
    assert work(TASK) == ("4 data a", True)
    apply(work.root)
    for path in work.root.rglob("*"):
        os.utime(path, (2, 2))
    assert work(TASK) == (changed, True)
    assert work(TASK) == (changed, False)
    shutil.rmtree(work.root)
    shutil.copytree(tmp_path / "before", work.root)
    os.chdir(work.root)
    assert work(TASK) == ("4 data a", False)


def test_a_module_that_appears_where_an_import_failed_is_a_change(work: Work) -> None:
    code = "try:\n    import fast\n    result = fast.NAME\nexcept ImportError:\n    result = 'slow'\n"
    (work.root / "script.py").write_text(code)
    os.utime(work.root / "script.py", (1, 1))
    assert [work(TASK), work(TASK)] == [("slow", True), ("slow", False)]
    (work.root / "fast.py").write_text("NAME = 'fast'\n")
    assert work(TASK) == ("fast", True)


def test_a_file_with_a_time_of_the_future_is_read_like_any_other(work: Work) -> None:
    os.utime(work.root / "data.txt", (2**32, 2**32))
    assert work(TASK) == ("4 data a", True)


def test_a_removed_file_is_a_change(work: Work) -> None:
    work(TASK)
    (work.root / "data.txt").unlink()
    with pytest.raises(SourceError, match="FileNotFoundError"):
        work(TASK)


def test_a_change_of_a_distribution_runs_the_task_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    (work.root / "script.py").write_text("import yaml\nresult = 1")
    os.utime(work.root / "script.py", (1, 1))
    work(TASK)
    monkeypatch.setattr("onnxpack.cache.trace.find_version", lambda name: "99")
    assert work(TASK)[1]


def test_a_change_of_a_module_of_this_package_runs_the_task_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpack.cache.trace import digest_module

    work(TASK)
    for name, same in (("onnxpack.cli.build", True), ("onnxpack.worker.task", False)):
        monkeypatch.setattr(
            "onnxpack.cache.trace.digest_module",
            lambda asked, name=name: "changed" if asked == name else digest_module(asked),
        )
        assert work(TASK)[1] != same, name


def test_a_checkout_elsewhere_finds_the_same_result(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(TASK)
    moved = Path(shutil.copytree(work.root, tmp_path / "elsewhere"))
    monkeypatch.chdir(moved)
    there = Work(moved, work.store)
    assert there(TASK) == ("4 data a", False)
    (moved / "data.txt").write_text("more")
    os.utime(moved / "data.txt", (1, 1))
    enter(moved, monkeypatch)
    assert there(TASK) == ("4 more a", True)
    monkeypatch.chdir(work.root)
    assert work(TASK) == ("4 data a", False)


def test_a_file_that_changed_while_it_was_read_is_refused_and_nothing_is_stored(work: Work) -> None:
    (work.root / "script.py").write_text("open('data.txt').close()\nopen('data.txt', 'w').close()\nresult = 1")
    os.utime(work.root / "script.py", (1, 1))
    with pytest.raises(SourceError, match=r"'data\.txt' changed while it was read"):
        work(TASK)
    assert entries(work, "script") == entries(work, "traces") == []


def test_file_that_the_task_wrote_is_not_an_input(work: Work) -> None:
    code = "open('made.txt', 'w').write('1')\nresult = open('made.txt').read()"
    (work.root / "script.py").write_text(code)
    os.utime(work.root / "script.py", (1, 1))
    assert work(TASK) == ("1", True)
    (work.root / "made.txt").write_text("2")
    assert work(TASK) == ("1", False)


def test_only_the_last_traces_are_remembered(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxpack.pipeline.runner, "_MOST_TRACES", 2)

    def with_data(text: str) -> tuple[Any, bool]:
        (work.root / "data.txt").write_text(text)
        os.utime(work.root / "data.txt", (1, 1))
        return work(TASK)

    assert all(with_data(text)[1] for text in "123")
    assert [with_data(text) for text in "32"] == [("4 3 a", False), ("4 2 a", False)]
    assert with_data("1") == ("4 1 a", True)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x93\x01", b"\x80", b"\x91\x81\xa5files\x03", b"\x91\x81\xa1x" + b"\x91" * 100_000]
)
def test_a_broken_list_of_traces_is_no_list(work: Work, data: bytes) -> None:
    work(TASK)
    (listed,) = (work.store.root / "traces/script").iterdir()
    listed.write_bytes(data)
    assert work(TASK) == ("4 data a", True)
    assert work(TASK) == ("4 data a", False)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_traces_that_are_no_file_are_replaced(work: Work, kind: str) -> None:
    work(TASK)
    (listed,) = (work.store.root / "traces/script").iterdir()
    replace_by(listed, kind)
    assert work(TASK) == ("4 data a", True)
    assert work(TASK) == ("4 data a", False)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_lock_that_is_no_file_is_a_typed_error(work: Work, kind: str) -> None:
    work(TASK)
    (listed,) = (work.store.root / "traces/script").iterdir()
    listed.unlink()
    lock = work.store.root / "locks" / f"script-{listed.name}"
    lock.touch()
    replace_by(lock, kind)
    with pytest.raises(EngineError, match="and something else is there"):
        work(TASK)


def replace_by(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "folder":
        (path / "folder").mkdir(parents=True)
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)


def test_a_damaged_result_is_made_again(work: Work) -> None:
    made, _ = work(WriteFile("text"))
    made.path.write_text("Text")
    again, ran = work(WriteFile("text"))
    assert ran
    assert again.path.read_text() == "text"


def test_files_of_a_result_are_in_the_store(work: Work) -> None:
    made, ran = work(WriteFile("text"))
    found, again = work(WriteFile("text"))
    assert (ran, again) == (True, False)
    assert made.path == found.path
    assert made.path.is_relative_to(work.store.root)
    assert digest_file(found.path) == found.digest == made.digest
    assert [path.name for path in work.store.root.iterdir() if path.name.startswith(".")] == []


def test_a_task_that_fails_leaves_nothing(work: Work) -> None:
    for _ in range(2):
        with pytest.raises(GateError, match="too much"):
            work(Fail())
    assert not list(work.store.root.rglob("half"))
    assert entries(work, "fail") == entries(work, "traces") == []


def test_a_result_that_was_cut_short_is_not_stored(work: Work) -> None:
    assert work(CutShort(Effort(0.5))) == (False, True)
    assert work(CutShort(Effort(0.5))) == (False, True)
    assert work(CutShort(Effort(60))) == (True, True)
    assert work(CutShort(Effort(0.5))) == (True, False), "a whole result answers however little time there is"


def test_a_fresh_store_takes_only_what_this_process_made(work: Work) -> None:
    work(TASK)
    fresh = Work(work.root, Store(work.store.root, fresh=True))
    assert fresh(TASK) == ("4 data a", True)
    assert fresh(TASK) == ("4 data a", False)


def test_a_result_that_two_candidates_ask_for_is_told_once(work: Work) -> None:
    told = Told()
    runner = Runner(work.store, told, work.root)
    assert [runner.run(TASK, of=word) for word in ("one", "two")] == ["4 data a"] * 2
    assert told.lines == ["script one"]
    assert [(record.name, record.of, record.cached) for record in runner.records] == [("script", "one", False)]


def test_concurrent_runs_of_one_task_are_all_right(work: Work) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: Work(work.root, Store(work.store.root))(TASK), range(3)))
    assert sorted(found) == [("4 data a", False)] * 2 + [("4 data a", True)]
    (entry,) = entries(work, "script")
    assert not entry.name.startswith(".")
    assert work(TASK) == ("4 data a", False)


BUILD = """
import sys
from pathlib import Path
from onnxpack.pipeline.runner import Runner
from onnxpack.cache.store import Store
from runner_tasks import RunScript
from told import Told

print(Runner(Store(Path(sys.argv[1])), Told(), Path.cwd()).run(RunScript("script.py")))
"""


def test_builds_of_two_checkouts_at_once_each_give_their_own(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request, and other data in each: whichever trace is written down last, none answers for the other."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "helpers"), prepend=os.pathsep)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "script.py").write_text("result = open('data').read()")
        (tmp_path / name / "data").write_text(name)
        for path in (tmp_path / name).iterdir():
            os.utime(path, (1, 1))
    command = [sys.executable, "-c", BUILD, str(work.store.root)]
    for _ in range(2):
        builds = {
            name: subprocess.Popen(command, cwd=tmp_path / name, stdout=subprocess.PIPE, text=True)
            for name in ("one", "two")
        }
        assert {name: build.communicate()[0] for name, build in builds.items()} == {"one": "one\n", "two": "two\n"}
        assert len(entries(work, "script")) == 2


WALK = """
import os
import time
time.sleep(1)
open("../runs", "a").write("x")
result = str(sorted(name for _, _, names in os.walk(".") for name in names if name.startswith("data")))
"""


def test_builds_at_once_with_the_store_in_the_work_tree_make_one_result(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task lists all folders of the work tree, that of the store and those of other builds' outputs too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "helpers"), prepend=os.pathsep)
    (work.root / "script.py").write_text(WALK)
    (work.root / "dist/cpu").mkdir(parents=True)
    (work.root / "dist/cpu/file").touch()  # an earlier output, which each build replaces
    for path in (work.root / "script.py", work.root / "dist/cpu/file"):
        os.utime(path, (1, 1))
    store = work.root / ".cache/store"
    command = [sys.executable, "-c", BUILD.replace("print(", OUTPUT), str(store)]
    builds = [subprocess.Popen(command, cwd=work.root, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [build.communicate()[0] for build in builds] == ["['data.txt']\n"] * 4
    assert (work.root.parent / "runs").read_text() == "x"
    assert len(list((store / "script").iterdir())) == 1
    assert Work(work.root, Store(store))(TASK) == ("['data.txt']", False)


OUTPUT = """
from onnxpack.core.output import replacing
with replacing(Path("dist/cpu")) as folder:
    (folder / "file").touch()
    print("""


def test_an_environment_is_made_only_when_a_task_runs_there(work: Work) -> None:
    prepared: list[str] = []

    def apart(key: str) -> Apart:
        def prepare() -> tuple[Task[Any], Path | None]:
            prepared.append(key)
            return WriteFile("prepared"), None

        return Apart(key, prepare)

    for key in ("pins", "pins", "other pins", "pins"):
        made, _ = work(WriteFile("text"), apart(key))
        assert made.path.read_text() == "prepared"
    assert prepared == ["pins", "other pins"]


# What this process does itself


def test_work_of_this_process_is_kept_by_its_request_and_its_code(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def keep(request: int) -> int:
        def make() -> int:
            made.append(request)
            return request * 2

        return Runner(work.store, Told(), work.root).keep("smoke", request, int, "onnxpack.image.smoke", make)

    assert [keep(1), keep(1), keep(2)] == [2, 2, 4]
    assert made == [1, 2]
    monkeypatch.setattr(onnxpack.pipeline.runner, "digest_code", lambda module: f"another {module}")
    assert keep(1) == 2
    assert made == [1, 2, 1]


def test_work_of_this_process_that_fails_is_not_kept(work: Work) -> None:
    def fail() -> int:
        raise GateError("too much")

    runner = Runner(work.store, Told(), work.root)
    for _ in range(2):
        with pytest.raises(GateError):
            runner.keep("smoke", 1, int, "onnxpack.image.smoke", fail)
    assert entries(work, "smoke") == []
