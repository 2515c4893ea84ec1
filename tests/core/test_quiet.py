"""Who measures is alone, whoever works at the moment, and nobody waits for ever or for himself."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpack.core import quiet

_BUILD = """
import sys
from pathlib import Path
from onnxpack.core import quiet

quiet.share(Path(sys.argv[1]))
log = Path(sys.argv[2])

def tell(word):
    with log.open("a") as stream:
        stream.write(f"{sys.argv[3]} {word}\\n")

for _ in range(6):
    with quiet.working():
        tell("works")
        with quiet.measuring():
            tell("measures")
            for _ in range(2000):
                pass
            tell("measured")
        tell("worked")
"""


@pytest.fixture(autouse=True)
def _own_state() -> Iterator[None]:
    yield
    quiet.share(None)


def test_nobody_works_or_measures_while_another_one_measures(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = [
        subprocess.Popen([sys.executable, "-c", _BUILD, tmp_path / "locks", log, name], env=environment)
        for name in "abc"
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 3 * 6 * 4
    for (name, word), (following, end) in itertools.pairwise(lines):
        if word == "measures":
            assert (following, end) == (name, "measured")


def test_one_who_shares_nothing_waits_for_nobody(tmp_path: Path) -> None:
    with quiet.working(), quiet.measuring(), quiet.working():
        pass
    assert not list(tmp_path.iterdir())


def test_one_who_works_measures_without_waiting_for_himself(tmp_path: Path) -> None:
    quiet.share(tmp_path)
    waited: list[bool] = []
    with quiet.working():
        with quiet.measuring(lambda: waited.append(True)), quiet.working(), quiet.measuring():
            pass
        assert quiet._state.work is not None
    assert not waited
    assert not list(tmp_path.iterdir())  # a lock that nobody holds leaves no file


def test_an_error_while_measuring_gives_all_locks_back(tmp_path: Path) -> None:
    quiet.share(tmp_path)
    with pytest.raises(ValueError, match="broken"), quiet.working(), quiet.measuring():
        raise ValueError("broken")
    with quiet.measuring(lambda: pytest.fail("somebody holds a lock")):
        pass
    assert not list(tmp_path.iterdir())
