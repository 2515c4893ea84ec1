"""Runs builds that end themselves at a chosen step: a call that moves, locks or removes
something in the file system.

It reads a line of JSON for each build and answers with one. Each build is the command line itself, in a fork of this
process, which has imported everything already; its tasks are run in it too, so that a build takes a tenth of a second.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from exporting import Here
from listening import listen

from onnxpack.cli import main
from onnxpack.core import output
from onnxpack.worker.call import Outcome, Setting
from onnxpack.worker.task import Task

_WARM = (
    "docker", "numpy", "onnx", "onnxruntime", "uv", "onnxpack.cli.build", "onnxpack.cli.failure",
    "onnxpack.sources.export", "onnxpack.image.docker", "onnxpack.pipeline.attempt",
    "onnxpack.sources.onnx", "onnxpack.tasks.compare",
    "onnxpack.tasks.export", "onnxpack.tasks.packages", "onnxpack.bundle.packages", "onnxpack.parity.compare",
)  # fmt: skip
_CALLS = (
    (os, "rename"), (os, "replace"), (os, "unlink"), (os, "link"), (os, "rmdir"), (shutil, "rmtree"),
    (tempfile, "mkdtemp"), (fcntl, "flock"),
)  # fmt: skip


class Steps:
    """Counts the calls of a build, and sends it a signal at one of them."""

    def __init__(self, at: int, number: int, when: str) -> None:
        self.made: list[str] = []
        self._at, self._number, self._when = at, number, when
        self._quiet = False

    def plant(self, quick_uv: str) -> None:
        """Count all calls from now on but those of tasks, which are other processes' otherwise."""
        for module, name in _CALLS:
            setattr(module, name, self._counted(name, getattr(module, name)))
        vars(output)["_exchange"] = self._counted("exchange", output._exchange)
        for place in ("runner", "verify"):
            vars(importlib.import_module(f"onnxpack.pipeline.{place}"))["call"] = self._run
        vars(importlib.import_module("uv"))["find_uv_bin"] = lambda: quick_uv

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if self._quiet:
                return call(*arguments, **options)
            with self._silence():  # what a call calls is a part of it
                self._reach(name, "before")
                result = call(*arguments, **options)
                self._reach(name, "after")
            return result

        return counted

    def _reach(self, name: str, when: str) -> None:
        if len(self.made) == self._at and when == self._when:
            os.kill(os.getpid(), self._number)
        if when == "after":
            self.made.append(name)

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _run(self, task: Task[Any], setting: Setting) -> Outcome[Any]:
        with self._silence():
            return Here()(task, setting)


def build(order: dict[str, Any]) -> int:
    """Do one build in this process, a fork; return its exit status."""
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    tempfile.tempdir = os.environ["TMPDIR"]  # else Python tries out folders with a file of its own
    words = os.open("words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(words, 1)
    os.dup2(words, 2)
    listen()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = Steps(order["step"], order["signal"], order["when"])
    steps.plant(quick_uv=sys.argv[1])
    sys.argv = ["onnxpack", *order["arguments"]]
    try:
        main()
    except SystemExit as end:
        Path("steps").write_text(json.dumps(steps.made))
        return int(end.code or 0)
    return 1


def serve() -> None:
    """Do the builds that are asked for, one after another."""
    for module in _WARM:
        importlib.import_module(module)
    gc.disable()  # each collection would copy the memory that a fork shares with this process
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = build(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
