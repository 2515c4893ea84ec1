"""Whatever happens in a child, the parent gets an answer or one typed error, and no process stays."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from call_faults import (
    FORGED,
    AnswerThenDie,
    Crash,
    Die,
    Echo,
    Environment,
    FillDisk,
    Flood,
    Forge,
    Hang,
    Kill,
    Leave,
    LeaveDaemon,
    LeaveGrandchild,
    SayStrangely,
    Shout,
    Speak,
    Typed,
    Unwritable,
    WholeEnvironment,
    WriteFile,
)
from listening import listen
from told import Told

import onnxpack.worker.process
from onnxpack.core.errors import GateError, Location, OnnxpackError, Problem, SourceError, SpecError
from onnxpack.download.task import FetchFile
from onnxpack.tasks.export import ExportModel
from onnxpack.tasks.packages import InstallPackages
from onnxpack.worker import Say, Task
from onnxpack.worker.call import Setting, call
from onnxpack.worker.supervise import STOPPED

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _faults_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@dataclass(frozen=True)
class Gone(Task[None]):
    """A task that the child finds no class of."""

    NAME = "gone"

    def run(self, folder: Path, say: Say) -> None: ...


Gone.__module__ = "call_faults"


def run(task: Task[Any], scratch: Path) -> Any:
    return call(task, Setting(scratch)).result


def failure(task: Task[Any], scratch: Path) -> Problem:
    with pytest.raises(SourceError) as failed:
        run(task, scratch)
    (problem,) = failed.value.problems
    assert problem.hint
    return problem


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False
    return state not in "ZX"


def wait_until(condition: Any) -> None:
    """Wait for what must come; a test that waits in vain fails after a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen within a minute")


def test_call_with_values_returns_them(tmp_path: Path) -> None:
    request = {"a": [1, 2.5, None, True], "b": {"ä\n": "\u2028"}}
    assert run(Echo(request), tmp_path) == request


def test_a_typed_error_crosses_whole(tmp_path: Path) -> None:
    with pytest.raises(OnnxpackError) as failed:
        run(Typed(), tmp_path)
    assert type(failed.value) is GateError
    assert failed.value.problems == (
        Problem("first", "hint", Location("spec.yaml", 3, 4), "row 1\nrow 2"),
        Problem("second"),
    )


def test_an_untyped_error_becomes_a_source_error_with_its_trace(tmp_path: Path) -> None:
    problem = failure(Crash(), tmp_path)
    assert problem.message == "stage 'crash' failed: ZeroDivisionError: nothing"
    assert "call_faults.py" in problem.detail
    assert problem.detail.rstrip().endswith("ZeroDivisionError: nothing\nto divide by")


def test_result_that_cannot_be_encoded_is_an_error(tmp_path: Path) -> None:
    assert "TypeError: a request or result cannot hold an object" in failure(Unwritable(), tmp_path).detail


@pytest.mark.case("M5")
@pytest.mark.parametrize(
    ("task", "death", "words"),
    [
        (Die(0), "exit status 0", "the last words\nand on stderr"),
        (Die(7), "exit status 7", "the last words\nand on stderr"),
        (Leave(), "exit status 1", "leaving\na word"),
        (Kill(signal.SIGKILL), "killed by SIGKILL", ""),
        (Kill(signal.SIGSEGV), "killed by SIGSEGV", ""),
        (Kill(signal.SIGTERM), "killed by SIGTERM", ""),
        (Kill(signal.SIGRTMIN + 1), f"killed by signal {signal.SIGRTMIN + 1}", ""),
        (Gone(), None, "AttributeError"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Task) else "",
)
def test_a_death_is_told_with_the_end_of_its_output(
    tmp_path: Path, task: Task[None], death: str | None, words: str
) -> None:
    problem = failure(task, tmp_path)
    if death:
        assert problem.message == f"the process of stage '{task.NAME}' died: {death}"
    assert words in problem.detail


def test_output_of_many_megabytes_costs_no_memory_and_its_end_is_shown(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    problem = failure(Flood(300), tmp_path)
    assert problem.detail.endswith("the last words")
    assert len(problem.detail) < 50_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize("typed", [True, False])
def test_exception_with_a_text_of_megabytes_is_cut(tmp_path: Path, typed: bool) -> None:
    with pytest.raises(OnnxpackError) as failed:
        run(Shout(30_000_000, typed), tmp_path)
    assert type(failed.value) is (GateError if typed else SourceError)
    (problem,) = failed.value.problems
    assert len(problem.message) < 5_000
    assert len(problem.detail) < 50_000
    assert problem.detail.rstrip().endswith("the end")


@pytest.mark.parametrize("kind", [*FORGED, "pipe", "folder", "endless link", "huge"])
def test_answer_that_is_forged_is_a_source_error_with_the_cause(tmp_path: Path, kind: str) -> None:
    assert failure(Forge(kind), tmp_path).message.startswith("the answer of stage 'forge' cannot be used: ")


def test_words_of_a_task_that_are_a_pipe_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxpack.worker.process, "_PERIOD", 0.01)
    progress = Told()
    call(SayStrangely(), Setting(tmp_path, progress=progress))
    assert progress.lines == []


def test_an_older_answer_in_the_same_folder_is_not_taken(tmp_path: Path) -> None:
    assert run(Echo({"a": 1}), tmp_path) == {"a": 1}
    assert failure(Die(1), tmp_path).message.endswith("exit status 1")


def test_partial_answer_is_refused(tmp_path: Path) -> None:
    assert failure(AnswerThenDie(tmp_path / "answer.part"), tmp_path).message.endswith("exit status 1")


def test_the_child_is_silent_about_itself_and_deterministic(tmp_path: Path) -> None:
    found = run(Environment(), tmp_path)
    assert found["ORT_DISABLE_TELEMETRY"] == "1"
    assert found["PYTHONHASHSEED"] == "0"
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"


def test_child_sees_what_is_on_the_list_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = {
        "AWS_SECRET_ACCESS_KEY": "canary", "HF_TOKEN": "canary", "OWN": "canary", "ONNXPACK_TOKEN": "canary",
        "ONNXPACK_CACHE": "s3://canary@store", "ONNXPACK_FILE_ROOTS": "/canary",
        "HTTPS_PROXY": "http://user:canary@proxy", "http_proxy": "user:canary@proxy:3128", "UV_INDEX_URL": "canary",
        "PYTHON_SERVICE": "canary",
    }  # fmt: skip
    seen = {"HF_HOME": "/hf", "LC_ALL": "C", "OMP_NUM_THREADS": "1", "ALL_PROXY": "http://proxy:3128", "OTHER": "x"}
    for name, value in {**hidden, **seen}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ONNXPACK_PASS_ENV", "OTHER, ABSENT")
    found = run(Environment(), tmp_path)
    assert "canary" not in str(found)
    assert seen.items() <= found.items()
    assert {"PATH", "HOME"} & os.environ.keys() <= found.keys()
    assert Path(found["TMPDIR"]).parent == tmp_path


def test_child_of_a_task_that_runs_no_foreign_code_sees_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert run(WholeEnvironment(), tmp_path)["AWS_SECRET_ACCESS_KEY"] == "canary"
    assert [kind.TRUSTED for kind in (FetchFile, InstallPackages, ExportModel)] == [True, True, False]


def test_a_file_of_the_working_folder_takes_no_modules_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "ctypes", "traceback", "onnxpack"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert run(Echo({"a": 1}), tmp_path) == {"a": 1}


def test_what_the_child_started_goes_with_it(tmp_path: Path) -> None:
    pid = run(LeaveGrandchild(), tmp_path)
    wait_until(lambda: not is_running(pid))


def test_daemon_of_a_task_goes_with_it(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        assert not is_running(run(LeaveDaemon(tmp_path, waits=False), tmp_path))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_daemon_of_a_task_that_takes_too_long_goes_with_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="took more than"):
        call(LeaveDaemon(tmp_path, waits=True), Setting(tmp_path, within=5))
    assert not is_running(int((tmp_path / "daemon").read_text()))


def test_task_without_a_limit_of_its_own_gets_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXPACK_TASK_TIMEOUT", "2")
    with pytest.raises(SourceError, match=r"took more than 2 s \(.* as ONNXPACK_TASK_TIMEOUT=86400\)"):
        run(Hang(tmp_path), tmp_path)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_limit_of_the_environment_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("ONNXPACK_TASK_TIMEOUT", text)
    with pytest.raises(SpecError, match="ONNXPACK_TASK_TIMEOUT must be a number of seconds"):
        run(Echo({}), tmp_path)


def test_a_task_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"stage 'hang' took more than 3 s"):
        call(Hang(tmp_path), Setting(tmp_path, within=3))
    if (tmp_path / "pids").exists():  # on a busy machine its time may be over before it starts anything
        pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
        wait_until(lambda: not any(map(is_running, pids)))


def test_a_full_disk_in_the_child_is_one_in_the_parent(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as failed:
        run(FillDisk(), tmp_path)
    assert failed.value.errno == errno.ENOSPC
    assert failed.value.filename == str(tmp_path)


def test_what_a_child_says_is_told_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hears(Told):
        def note(self, text: str) -> None:
            super().note(text)
            (tmp_path / "heard").write_text(text)

    monkeypatch.setattr(onnxpack.worker.process, "_PERIOD", 0.01)
    progress = Hears()
    call(Speak(("8 rows", "16 rows"), tmp_path / "heard"), Setting(tmp_path, progress=progress))
    assert progress.lines == ["8 rows", "16 rows"]


def test_files_of_a_result_lie_in_the_asked_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    found = call(WriteFile(), Setting(tmp_path, tmp_path / "files"))
    assert found.result == tmp_path / "files/file"
    assert found.result.read_text() == "content"
    assert str(tmp_path).encode() not in found.data, "the stored message must not depend on the place"


PARENT = """
import sys
from pathlib import Path
from call_faults import Hang
from onnxpack.worker.call import Setting, call

scratch = Path(sys.argv[1])
try:
    call(Hang(scratch), Setting(scratch))
except KeyboardInterrupt:
    print("interrupted")
"""


def hanging_parent(scratch: Path) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(scratch)], stdout=subprocess.PIPE, text=True, preexec_fn=listen
    )
    wait_until(lambda: (scratch / "pids").exists())
    return parent, [int(word) for word in (scratch / "pids").read_text().split()]


@pytest.mark.case("B14")
def test_an_interrupt_of_the_parent_ends_the_childs_whole_group(tmp_path: Path) -> None:
    parent, pids = hanging_parent(tmp_path)
    assert all(map(is_running, pids))
    parent.send_signal(signal.SIGINT)
    output, _ = parent.communicate()
    assert (output, parent.returncode) == ("interrupted\n", 0)
    wait_until(lambda: not any(map(is_running, pids)))


def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent, (child, grandchild) = hanging_parent(tmp_path)
    parent.kill()
    parent.communicate()
    try:
        wait_until(lambda: not is_running(child))
        wait_until(lambda: not is_running(grandchild))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(grandchild, signal.SIGKILL)


def test_child_whose_parent_died_while_it_started_does_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-P", "-m", "onnxpack.worker", str(tmp_path)]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.DEVNULL, check=False)
    os.close(write)
    assert ended.returncode == STOPPED
