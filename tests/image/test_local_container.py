"""A container of this machine: real processes, their output, their end, and all that they have started."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.image import local_container
from onnxpack.image.local_container import LocalContainer
from onnxpack.image.runtimes.runtime import Box, Launch, Report

SLEEP = "import time; time.sleep(60)"


class Plain:
    """A runtime whose containers are Python code in a process of this machine."""

    name, rank, report = "plain", 1, Report.PROGRAM

    def find_version(self) -> str | None:
        return "plain"

    def prepare(self, box: Box) -> None: ...

    def start(self, box: Box, report: int) -> Launch:
        return self.execute(box, report, box.command)

    def has_started(self, process: int) -> bool:
        return True

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        return Launch((sys.executable, "-I", "-S", "-c", *command), {"FIRST": str(process)})

    def clean(self, box: Box) -> tuple[str, ...]:
        return ()


class Reporting(Plain):
    report = Report.DESCRIPTOR


class Filing(Plain):
    report = Report.FILE


Make = Callable[..., LocalContainer]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = []

    def make_container(*command: str, kind: type[Plain] = Plain) -> LocalContainer:
        for name in ("state", "volume/out"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        box = Box("box", tmp_path, tmp_path / "volume", tmp_path / "state", command, {}, "/", 0, 0)
        made.append(LocalContainer(kind(), "plain 1", box))
        return made[-1]

    yield make_container
    for container in made:
        container.end()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    return done()


def test_a_container_tells_what_it_prints_and_how_it_ends(make: Make) -> None:
    box = make("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    box.start()
    assert box.wait(20) == 3
    assert box.output() == ("out\n", "err\n")
    assert not box.running()
    assert box.execute(["print(1)"]) == (255, "", "the container has ended")


@pytest.mark.parametrize(("number", "status"), [("SIGKILL", 137), ("SIGTERM", 143)])
def test_a_container_that_a_signal_ends_has_a_status_as_engines_have_it(make: Make, number: str, status: int) -> None:
    box = make(f"import os, signal; os.kill(os.getpid(), signal.{number})")
    box.start()
    assert box.wait(20) == status


def test_a_container_that_does_not_end_is_not_waited_for(make: Make) -> None:
    box = make(SLEEP)
    box.start()
    assert box.wait(0.01) is None
    assert box.running()


def test_a_second_command_knows_the_first_process(make: Make, tmp_path: Path) -> None:
    box = make(f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); {SLEEP}")
    box.start()
    assert wait_for(lambda: bool((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    status, out, words = box.execute(
        ["import os, sys; print(os.environ['FIRST']); print(1, file=sys.stderr); sys.exit(4)"]
    )
    assert (status, out.strip(), words) == (4, (tmp_path / "pid").read_text(), "1\n")


@pytest.mark.parametrize("kind", [Reporting, Filing])
def test_the_first_process_is_the_one_that_the_runtime_tells(
    make: Make, kind: type[Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Plain, box: Box, report: int) -> Launch:
        code = f"import os; os.write({report}, b'{{\"child-pid\"'); os.write({report}, b': 4711}}'); {SLEEP}"
        if kind is Filing:
            code = f"open({str(box.pid_file)!r}, 'w').write('4711'); {SLEEP}"
        return Launch((sys.executable, "-I", "-S", "-c", code), {})

    monkeypatch.setattr(kind, "start", start)
    box = make(kind=kind)
    box.start()
    assert box.execute(["import os; print(os.environ['FIRST'])"])[1] == "4711\n"


@pytest.mark.parametrize("kind", [Reporting, Filing])
def test_a_runtime_that_ends_at_once_leaves_its_words(make: Make, kind: type[Plain]) -> None:
    box = make("import sys; sys.exit('cannot')", kind=kind)
    box.start()
    assert box.wait(20) == 1
    assert box.output()[1] == "cannot\n"


@pytest.mark.parametrize("kind", [Reporting, Filing])
def test_a_runtime_that_never_starts_the_container_is_an_error(
    make: Make, kind: type[Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_container, "_STARTING", 0.05)
    monkeypatch.setattr(local_container, "_MAKING", 0.05)
    box = make(SLEEP, kind=kind)
    with pytest.raises(EngineError, match="a container did not start within"):
        box.start()
    box.end()
    assert not box.running()


def test_a_second_command_waits_until_the_first_process_is_in_its_box(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def has_started(self: Plain, process: int) -> bool:
        asked.append(process)
        return len(asked) > 3

    monkeypatch.setattr(Plain, "has_started", has_started)
    make(SLEEP).start()
    assert len(asked) == 4
    monkeypatch.setattr(local_container, "_STARTING", 0.05)
    monkeypatch.setattr(Plain, "has_started", lambda self, process: False)
    with pytest.raises(EngineError, match="a container did not start within"):
        make(SLEEP).start()


FORK = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(PLACE, "w").write(str(os.getpid()))
    time.sleep(60)
time.sleep(60)
"""


def test_the_end_of_a_container_is_the_end_of_all_that_it_started(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    box = make(FORK.replace("PLACE", repr(str(place))))
    box.start()
    assert wait_for(lambda: place.exists() and place.read_text() != "")
    box.end()
    assert not is_alive(int(place.read_text()))
    assert not box.running()


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_local_container import Plain, LocalContainer, Box
place = Path({place!r})
box = LocalContainer(Plain(), "plain", Box("box", place, place, place / "state", ({code!r},), {{}}, "/", 0, 0))
box.start()
print(box._first, flush=True)
box.wait(60)
"""


def test_a_build_that_is_killed_takes_its_container_with_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    text = KILLED.format(path=[str(Path(__file__).parent), *sys.path], place=str(tmp_path), code=SLEEP)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as build:
        assert build.stdout
        first = int(build.stdout.readline())
        assert is_alive(first)
        build.kill()
    assert wait_for(lambda: not is_alive(first))


def test_what_a_container_puts_in_the_place_of_a_file_is_not_followed(make: Make, tmp_path: Path) -> None:
    box = make(SLEEP)
    out = tmp_path / "volume/out"
    (tmp_path / "secret").write_text("secret")
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder").mkdir()
    os.mkfifo(out / "pipe")
    (out / "file").write_text("1")
    assert box.fetch("out") == {"file": b"1"}


def test_of_endless_output_the_end_is_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_container, "_MOST_PRINTED", 4)
    box = make("print('0123456789')")
    box.start()
    box.wait(20)
    assert box.output()[0] == "789\n"


def test_a_container_that_was_not_started_ends_in_peace(make: Make) -> None:
    box = make(SLEEP)
    box.end()
    assert not box.running()
