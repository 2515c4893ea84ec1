"""A build of many specs that is interrupted or killed leaves no process, nothing partial, and can be run again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_project import write_project
from kill_tools import PATIENCE, Place, eventually
from listening import listen

_NAMES = ("one", "two", "three", "four")


def start(place: Place) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "onnxpack", "build", ".", "--until", "verify", "--jobs", "2"],
        cwd=place.root / "project",
        env=place.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=listen,
    )


@pytest.mark.case("B14")
@pytest.mark.parametrize(
    ("number", "ended"),
    [(signal.SIGINT, 1), (signal.SIGTERM, 0), (signal.SIGKILL, 1)],
    ids=["ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_a_fleet_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals, ended: int) -> None:
    """The signal comes once so many jobs have ended; ctrl-C reaches the process group, as from a terminal."""
    place = Place(tmp_path / "place", tmp_path / "index")
    place.temporary.mkdir(parents=True)
    write_project(place.root / "project", *_NAMES)
    with start(place) as running:
        assert running.stderr
        wanted = f"[{ended}/4]" if ended else " …"
        while wanted not in running.stderr.readline():
            assert running.poll() is None
        (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
        printed, words = running.communicate(timeout=PATIENCE)
    assert printed == ""
    assert running.returncode == (-9 if number == signal.SIGKILL else 130)
    eventually(lambda: not place.processes(), "a process is left")
    if number != signal.SIGKILL:
        assert words.splitlines()[-1] == "interrupted"
        assert place.leftovers() == ["project/.git"]
    assert not place.damaged()
    with start(place) as again:
        printed, words = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, words
    assert len(printed.splitlines()) == 4
    assert place.leftovers() == ["project/.git"]
