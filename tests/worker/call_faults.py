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

from onnxpack.errors import GateError, Location, Problem
from onnxpack.worker import Say, Task


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
class Chatter(Task[None]):
    NAME = "chatter"
    lines: int

    def run(self, folder: Path, say: Say) -> None:
        for number in range(self.lines):
            print("line", number)
        sys.stdout.flush()
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)


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
