"""A supervisor run by its path starts any program, tells its process, and cleans up after a killed build."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from onnxpack.worker import supervise

LINE = (sys.executable, "-I", "-S", supervise.__file__)
PYTHON = (sys.executable, "-I", "-S", "-c")


def test_a_program_is_started_with_its_arguments_and_ends_as_itself() -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    ended = subprocess.run([*LINE, "0", *PYTHON, code, "--", "a", "--"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "['--', 'a']\n", "")


def test_the_program_s_process_is_told() -> None:
    reading, writing = os.pipe()
    code = "import os; print(os.getpid())"
    ended = subprocess.run(
        [*LINE, str(writing), *PYTHON, code, "--"], capture_output=True, text=True, check=True, pass_fds=(writing,)
    )
    os.close(writing)
    with os.fdopen(reading) as stream:
        assert json.loads(stream.read()) == {"child-pid": int(ended.stdout)}


def test_the_cleaner_runs_once_if_the_supervisor_is_told_to_stop(tmp_path: Path) -> None:
    clean = (*PYTHON, f"open({str(tmp_path / 'cleaned')!r}, 'a').write('x')")
    code = "print('up', flush=True); import time; time.sleep(60)"
    with subprocess.Popen([*LINE, "0", *PYTHON, code, "--", *clean], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(20) == supervise.STOPPED
    assert (tmp_path / "cleaned").read_text() == "x"


def test_a_program_that_ends_by_itself_is_not_cleaned_up(tmp_path: Path) -> None:
    clean = (*PYTHON, f"open({str(tmp_path / 'cleaned')!r}, 'a').write('x')")
    began = time.monotonic()
    assert subprocess.run([*LINE, "0", *PYTHON, "pass", "--", *clean], check=False).returncode == 0
    assert time.monotonic() - began < 60
    assert not (tmp_path / "cleaned").exists()


def test_program_of_a_build_that_is_gone_before_it_could_be_watched_is_not_run(tmp_path: Path) -> None:
    """A signal for the parent's death comes to those alone that were there to ask for it."""
    stranger = os.getppid()
    for parent, runs in ((stranger, False), (os.getpid(), True), (0, True)):
        place = tmp_path / str(parent)
        touch = ["/bin/sh", "-c", f"echo here > {place}"]
        ended = subprocess.run([*LINE, f"0:{parent}", *touch, "--"], check=False, timeout=60)
        assert (ended.returncode, place.exists()) == ((0, True) if runs else (supervise.STOPPED, False))
