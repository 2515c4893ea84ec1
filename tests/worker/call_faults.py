"""Tasks for a child process of test_call.py: to answer, and to fail in every way."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.errors import GateError, Location, Problem
from onnxpack.worker import Say, Task
from onnxpack.worker.codec import encode


@dataclass(frozen=True)
class Echo(Task[dict[str, Any]]):
    NAME = "echo"
    values: dict[str, Any]

    def run(self, folder: Path, say: Say) -> dict[str, Any]:
        return self.values


@dataclass(frozen=True)
class Environment(Task[dict[str, str]]):
    NAME = "environment"

    def run(self, folder: Path, say: Say) -> dict[str, str]:
        return dict(os.environ)


@dataclass(frozen=True)
class WholeEnvironment(Environment):
    TRUSTED = True


@dataclass(frozen=True)
class Typed(Task[None]):
    NAME = "typed"

    def run(self, folder: Path, say: Say) -> None:
        raise GateError([Problem("first", "hint", Location("spec.yaml", 3, 4), "row 1\nrow 2"), Problem("second")])


@dataclass(frozen=True)
class Crash(Task[None]):
    NAME = "crash"

    def run(self, folder: Path, say: Say) -> None:
        print("about to fail")
        raise ZeroDivisionError("nothing\nto divide by")


@dataclass(frozen=True)
class FillDisk(Task[None]):
    NAME = "fill"

    def run(self, folder: Path, say: Say) -> None:
        raise OSError(errno.ENOSPC, "no room")


@dataclass(frozen=True)
class Unwritable(Task[Any]):
    NAME = "unwritable"

    def run(self, folder: Path, say: Say) -> Any:
        return object()


@dataclass(frozen=True)
class Leave(Task[None]):
    NAME = "leave"

    def run(self, folder: Path, say: Say) -> None:
        print("leaving")
        sys.exit("a word")


@dataclass(frozen=True)
class Die(Task[None]):
    NAME = "die"
    status: int

    def run(self, folder: Path, say: Say) -> None:
        print("the last words", flush=True)
        print("and on stderr", file=sys.stderr, flush=True)
        os._exit(self.status)


@dataclass(frozen=True)
class Kill(Task[None]):
    NAME = "kill"
    number: int

    def run(self, folder: Path, say: Say) -> None:
        os.kill(os.getpid(), self.number)


@dataclass(frozen=True)
class AnswerThenDie(Task[None]):
    """Write half of an answer as the child's side would, then die before it is whole."""

    NAME = "half"
    partial: Path

    def run(self, folder: Path, say: Say) -> None:
        self.partial.write_bytes(b"\x86\xa6result")
        os._exit(1)


@dataclass(frozen=True)
class Flood(Task[None]):
    """Print so many MB, then die."""

    NAME = "flood"
    megabytes: int

    def run(self, folder: Path, say: Say) -> None:
        for _ in range(self.megabytes):
            os.write(1, b"x" * 999_999 + b"\n")
        os.write(1, b"the last words\n")
        os._exit(1)


@dataclass(frozen=True)
class Shout(Task[None]):
    """Raise an exception with so long a text."""

    NAME = "shout"
    length: int
    typed: bool

    def run(self, folder: Path, say: Say) -> None:
        text = "password=" + "x " * (self.length // 2) + "the end"
        raise GateError(text, detail=text) if self.typed else ValueError(text)


@dataclass(frozen=True)
class Forge(Task[int]):
    """Leave something of one's own as the answer."""

    NAME = "forge"
    kind: str

    def run(self, folder: Path, say: Say) -> int:
        place = folder / "answer"
        if self.kind == "pipe":
            os.mkfifo(place)
        elif self.kind == "folder":
            place.mkdir()
        elif self.kind == "endless link":
            place.symlink_to("/dev/zero")
        elif self.kind == "huge":
            place.touch()
            os.truncate(place, 2**40)
        else:
            place.write_bytes(FORGED[self.kind])
        os._exit(0)


FORGED = {
    "empty": b"",
    "no message": b"\xc1" * 100,
    "deep": b"\x91" * 1_000_000,
    "deep in an unknown field": b"\x81\xa1x" + b"\x91" * 1_000_000,
    "nothing in it": encode({}),
    "unknown exit code": encode({"exit_code": 99, "problems": [{"message": "forged"}]}),
    "no problems": encode({"exit_code": 3}),
    "result of another type": encode({"result": encode("text"), "trace": {}}),
    "result that is no message": encode({"result": b"\xc1", "trace": {}}),
    "length that lies": b"\xdd\xff\xff\xff\xff",
}


@dataclass(frozen=True)
class LeaveDaemon(Task[int]):
    """Start a process in a session of its own, whose parent ends, and return its process id or wait for ever."""

    NAME = "daemon"
    folder: Path
    waits: bool

    def run(self, folder: Path, say: Say) -> int:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            place = self.folder / "daemon.part"
            place.write_text(str(os.getpid()))
            place.rename(self.folder / "daemon")
            time.sleep(300)
        os.wait()
        while not (self.folder / "daemon").exists() or self.waits:
            time.sleep(0.01)
        return int((self.folder / "daemon").read_text())


@dataclass(frozen=True)
class SayStrangely(Task[None]):
    """Put a pipe where the words are."""

    NAME = "strange"

    def run(self, folder: Path, say: Say) -> None:
        os.mkfifo(folder / "said")
        time.sleep(0.5)


@dataclass(frozen=True)
class Hang(Task[None]):
    """Start a grandchild, tell both process ids, and wait for ever."""

    NAME = "hang"
    folder: Path

    def run(self, folder: Path, say: Say) -> None:
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        partial = self.folder / "pids.part"
        partial.write_text(f"{os.getpid()} {grandchild.pid}")
        partial.rename(self.folder / "pids")
        time.sleep(300)


@dataclass(frozen=True)
class LeaveGrandchild(Task[int]):
    NAME = "grandchild"

    def run(self, folder: Path, say: Say) -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid


@dataclass(frozen=True)
class Speak(Task[None]):
    """Say each text, and wait until ``heard`` holds it; give up after a minute."""

    NAME = "speak"
    texts: tuple[str, ...]
    heard: Path

    def run(self, folder: Path, say: Say) -> None:
        for text in self.texts:
            say(text)
            for _ in range(6000):
                if self.heard.exists() and self.heard.read_text() == text:
                    break
                time.sleep(0.01)


@dataclass(frozen=True)
class WriteFile(Task[Path]):
    NAME = "write"

    def run(self, folder: Path, say: Say) -> Path:
        (folder / "file").write_text("content")
        return folder / "file"
