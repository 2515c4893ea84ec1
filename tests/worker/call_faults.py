"""What a child process is told to do by test_child.py: to answer, and to fail in every way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from onnxpack.errors import GateError, Location, Problem


def echo(**arguments: Any) -> dict[str, Any]:
    return arguments


def environment() -> dict[str, str]:
    return dict(os.environ)


def modules() -> list[str]:
    return sorted(sys.modules)


def typed() -> None:
    raise GateError(
        [Problem("first", "hint", Location("spec.yaml", 3, 4), "row 1\nrow 2"), Problem("second")],
    )


def crash() -> None:
    print("about to fail")
    raise ZeroDivisionError("nothing\nto divide by")


def unwritable() -> object:
    return object()


def leave() -> None:
    print("leaving")
    sys.exit("a word")


def die(status: int) -> None:
    print("the last words", flush=True)
    print("and on stderr", file=sys.stderr, flush=True)
    os._exit(status)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def answer_then_die(path: str) -> None:
    """Write a result as the child's side would, then die before it is whole."""
    Path(path).write_text('{"value":')
    os._exit(1)


def chatter(lines: int) -> None:
    for number in range(lines):
        print("line", number)
    os.close(1)


def hang(folder: str) -> None:
    """Start a grandchild, tell both process ids, and wait for ever."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    partial = Path(folder, "pids.part")
    partial.write_text(f"{os.getpid()} {grandchild.pid}")
    partial.rename(Path(folder, "pids"))
    time.sleep(300)


def leave_a_grandchild() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid
