"""A process that judges one document after another: a crash, a hang or a lack of memory ends it alone."""

import json
import os
import random
import resource
import select
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO

from fuzz_documents import KINDS
from fuzz_tools import Outcome, judge_made

_ROOT = Path(__file__).parents[2]
_LIMIT = 8 * 2**30
"""Bytes of address space: torch alone takes 5 GB of it and little memory."""
_STARTS = 120.0  # seconds for a process to import everything on a busy machine


class Child:
    """One such process, started when it is needed."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, name: str, seed: str) -> Outcome:
        """Let it make and judge a document; of one that took the process down, the failure says how."""
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([name, seed]).encode() + b"\n")
        process.stdin.flush()
        # The patience ends in the child itself, unless native code hangs.
        line = _read_line(process.stdout, self._patience * 30 + _STARTS)
        if line is not None and line.strip():
            return Outcome(**json.loads(line))
        self.end()
        words = "it hangs in native code" if line is None else f"it died: exit status {process.returncode}"
        return Outcome(False, words, 0.0, 0.0)

    def end(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [str(_ROOT), str(_ROOT / "tests/helpers"), str(Path(__file__).parent)]
        return subprocess.Popen(
            [sys.executable, __file__, str(self._patience)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _read_line(stream: IO[bytes], seconds: float) -> bytes | None:
    """Return the next line, empty at the end; None where none comes in time. The child writes one at a time."""
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else None


def main() -> None:
    """Answer each line of the standard input, a kind and a seed, by the outcome on the standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT, _LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    for line in sys.stdin:
        name, seed = json.loads(line)
        outcome = judge_made(KINDS[name], random.Random(f"{name} {seed}"), float(sys.argv[1]))
        answers.write(json.dumps(asdict(outcome)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
