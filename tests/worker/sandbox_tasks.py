"""Tasks that try what a sandbox forbids, and tell what came of it."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class TryPlaces(Task[dict[str, str]]):
    """Read and write files; the paths are texts, so that the request shows none of them to the sandbox."""

    NAME = "places"
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def run(self, folder: Path, say: Say) -> dict[str, str]:
        (folder / "result").write_text("mine")
        return {path: _try(lambda path=path: Path(path).read_text()) for path in self.reads} | {
            path: _try(lambda path=path: str(Path(path).write_text("x"))) for path in self.writes
        }


@dataclass(frozen=True)
class TryConnecting(Task[str]):
    """Connect to a server of this machine."""

    NAME = "connect"
    port: int
    path: str = ""

    def run(self, folder: Path, say: Say) -> str:
        def connect() -> str:
            if self.path:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.path)
            else:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            return "connected"

        return _try(connect)


@dataclass(frozen=True)
class TryFetching(TryConnecting):
    """Connect as what fetches something."""

    TRUSTED = True


@dataclass(frozen=True)
class TellEnvironment(Task[dict[str, str]]):
    NAME = "environment"

    def run(self, folder: Path, say: Say) -> dict[str, str]:
        return dict(os.environ)


@dataclass(frozen=True)
class Seen:
    texts: tuple[str, ...]
    descriptors: tuple[int, ...]


@dataclass(frozen=True)
class ReadProcesses(Task[Seen]):
    """Read the variables and the command line of every process, and tell which descriptors are open."""

    NAME = "processes"

    def run(self, folder: Path, say: Say) -> Seen:
        places = [place for name in ("environ", "cmdline") for place in Path("/proc").glob(f"[0-9]*/{name}")]
        texts = [_try(lambda place=place: place.read_bytes().decode(errors="replace")) for place in places]
        open_now = []
        for place in Path("/proc/self/fd").iterdir():
            try:
                os.fstat(int(place.name))
            except OSError:
                continue  # of the listing itself
            open_now.append(int(place.name))
        return Seen(tuple(texts), tuple(open_now))


@dataclass(frozen=True)
class LeaveDaemon(Task[int]):
    """Start a process in a session of its own, which no signal to a group reaches."""

    NAME = "daemon"

    def run(self, folder: Path, say: Say) -> int:
        code = "import time, sys; print('up', flush=True); time.sleep(300)  # " + folder.name
        started = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
        assert started.stdout
        started.stdout.readline()
        return started.pid


@dataclass(frozen=True)
class Crash(Task[int]):
    NAME = "crash"

    def run(self, folder: Path, say: Say) -> int:
        os.kill(os.getpid(), signal.SIGSEGV)
        return 0


def _try(action: object) -> str:
    assert callable(action)
    try:
        return str(action())
    except OSError as error:
        return type(error).__name__
