"""Whatever happens in a child, the parent gets an answer or one typed error, and no process stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from onnxpack.child import call
from onnxpack.errors import GateError, Location, OnnxpackError, Problem, SourceError

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _faults_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def run(function: str, scratch: Path, **request: Any) -> Any:
    return call(f"child_faults:{function}", request, scratch)


def failure(function: str, scratch: Path, **request: Any) -> Problem:
    with pytest.raises(SourceError) as failed:
        run(function, scratch, **request)
    (problem,) = failed.value.problems
    assert problem.hint
    return problem


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_until(condition: Any) -> None:
    """Wait for what must come; a test that waits in vain fails after a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen within a minute")


def test_values_go_and_come(tmp_path: Path) -> None:
    request = {"a": [1, 2.5, None, True], "b": {"ä\n": "\u2028"}}
    assert run("echo", tmp_path, **request) == request


def test_a_typed_error_crosses_whole(tmp_path: Path) -> None:
    with pytest.raises(OnnxpackError) as failed:
        run("typed", tmp_path)
    assert type(failed.value) is GateError
    assert failed.value.problems == (
        Problem("first", "hint", Location("spec.yaml", 3, 4), "row 1\nrow 2"),
        Problem("second"),
    )


def test_an_untyped_error_becomes_a_source_error_with_its_trace(tmp_path: Path) -> None:
    problem = failure("crash", tmp_path)
    assert problem.message == "crash failed: ZeroDivisionError: nothing"
    assert "child_faults.py" in problem.detail
    assert problem.detail.rstrip().endswith("ZeroDivisionError: nothing\nto divide by")
    assert (tmp_path / "log.txt").read_text() == "about to fail\n"


def test_an_answer_that_cannot_be_told_is_an_error(tmp_path: Path) -> None:
    assert "TypeError: Object of type object is not JSON serializable" in failure("unwritable", tmp_path).detail


@pytest.mark.parametrize(
    ("function", "request_", "death", "words"),
    [
        ("die", {"status": 0}, "exit status 0", "the last words\nand on stderr"),
        ("die", {"status": 7}, "exit status 7", "the last words\nand on stderr"),
        ("leave", {}, "exit status 1", "leaving\na word"),
        ("kill", {"number": signal.SIGKILL}, "killed by SIGKILL", ""),
        ("kill", {"number": signal.SIGSEGV}, "killed by SIGSEGV", ""),
        ("no_such_function", {}, None, "AttributeError"),
    ],
)
def test_a_death_is_told_with_the_end_of_its_output(
    tmp_path: Path, function: str, request_: dict[str, Any], death: str | None, words: str
) -> None:
    problem = failure(function, tmp_path, **request_)
    if death:
        assert problem.message == f"the process that ran {function} died: {death}"
    assert words in problem.detail


def test_only_the_end_of_a_long_output_is_shown(tmp_path: Path) -> None:
    run("chatter", tmp_path, lines=3000)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 3000


def test_an_older_answer_in_the_same_folder_is_not_taken(tmp_path: Path) -> None:
    assert run("echo", tmp_path, a=1) == {"a": 1}
    assert failure("die", tmp_path, status=1).message.endswith("exit status 1")


def test_half_an_answer_is_none(tmp_path: Path) -> None:
    assert failure("answer_then_die", tmp_path, path=str(tmp_path / "result.part")).message.endswith("exit status 1")


def test_the_child_is_silent_about_itself_and_deterministic(tmp_path: Path) -> None:
    found = run("environment", tmp_path)
    assert found["ORT_DISABLE_TELEMETRY"] == "1"
    assert found["PYTHONHASHSEED"] == "0"
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"


def test_a_file_of_the_working_folder_takes_no_modules_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "ctypes", "traceback", "onnxpack"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert run("echo", tmp_path, a=1) == {"a": 1}


def test_what_the_child_started_goes_with_it(tmp_path: Path) -> None:
    pid = run("leave_a_grandchild", tmp_path)
    wait_until(lambda: not is_running(pid))


PARENT = """
import sys
from pathlib import Path
from onnxpack.child import call

scratch = Path(sys.argv[1])
try:
    call("child_faults:hang", {"folder": str(scratch)}, scratch)
except KeyboardInterrupt:
    print("interrupted")
"""


def hanging_parent(scratch: Path) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(scratch)], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: (scratch / "pids").exists())
    return parent, [int(word) for word in (scratch / "pids").read_text().split()]


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
    finally:
        os.kill(grandchild, signal.SIGKILL)
