"""A container of this machine, which no daemon keeps: its processes, what they print, and their end."""

import contextlib
import json
import os
import secrets
import select
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from onnxpack.core.errors import EngineError
from onnxpack.core.interrupts import holding, uninterrupted
from onnxpack.core.regular import read_regular
from onnxpack.image.engine import Container
from onnxpack.image.runtimes.keeper import keep_command
from onnxpack.image.runtimes.runtime import Box, Launch, Report, Runtime

_OUTPUT, _ERRORS = "stdout", "stderr"
_MOST_PRINTED = 16 * 2**20
"""How many bytes are read of what a command printed, from its end."""
_MOST_FETCHED = 8 * 2**30
"""The most bytes of a file that a check leaves."""
_STARTING = 30.0
"""Seconds for a runtime to say which process it has started."""
_MAKING = 2.0
"""Seconds for a runtime to make a container that is not wanted any more."""
_PERIOD = 0.002
"""Seconds between two looks for a file."""
_GRACE = 15.0
"""Seconds for a supervisor to end what it has started."""
_SIGNALLED = 128
"""What is added to the number of a signal that ended a command, as engines and shells do."""
_NO_STATUS = 255
"""The exit status that stands for a command which could not be started."""


@dataclass
class LocalContainer(Container):
    """One container of an unpacked image; ``end`` must be called, whatever happens."""

    kind: Runtime
    words: str
    """The runtime's name and version, for people."""
    box: Box
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    """The supervisor of all that the container is."""
    _first: int = field(default=0, init=False)
    """The first process of the container, as this machine numbers it."""

    @property
    def runtime(self) -> str:
        """Return the runtime's name and version."""
        return self.words

    def start(self) -> None:
        """Start the container's command.

        Raises:
            GateError: the image has no such program.
        """
        self.kind.prepare(self.box)
        reading, writing = os.pipe()
        try:
            launch = self.kind.start(self.box, writing)
            report = writing if self.kind.report is Report.PROGRAM else 0
            kept = replace(launch, command=keep_command(launch.command, report, self.kind.clean(self.box), os.getpid()))
            with uninterrupted(), self._create(_OUTPUT) as out, self._create(_ERRORS) as errors:
                self._process = _spawn(kept, out, errors, (writing,))
            os.close(writing)
            writing = -1
            self._first = self._find_first(reading)
        finally:
            for descriptor in {reading, writing} - {-1}:
                os.close(descriptor)

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        """Run one more command beside the first one; return its exit status, stdout and stderr."""
        if not self.running():
            return _NO_STATUS, "", "the container has ended"
        launch = self.kind.execute(self.box, self._first, command)
        name = f"command-{secrets.token_hex(4)}"
        with self._create(f"{name}.{_OUTPUT}") as out, self._create(f"{name}.{_ERRORS}") as errors:
            with holding(lambda: _spawn(launch, out, errors), _kill) as process:
                status = _convert_status(process.wait())
            return status, _read_end(out), _read_end(errors)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status of the container, or None if it still runs after so many ``seconds``."""
        assert self._process
        try:
            return _convert_status(self._process.wait(seconds))
        except subprocess.TimeoutExpired:
            return None

    def running(self) -> bool:
        """Return whether the container's command still runs."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> tuple[str, str]:
        """Return what the container has printed so far on stdout and stderr."""
        found = []
        for name in (_OUTPUT, _ERRORS):
            with (self.box.state / name).open("rb") as stream:
                found.append(_read_end(stream))
        return found[0], found[1]

    def fetch(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder of the volume, by name; links and folders in it are none.

        Raises:
            EngineError: one cannot be read.
        """
        with os.scandir(self.box.volume / folder) as entries:
            files = [Path(entry) for entry in entries if entry.is_file(follow_symlinks=False)]
        try:
            return {path.name: read_regular(path, _MOST_FETCHED) for path in files}
        except OSError as error:
            raise EngineError(f"what the container left cannot be read: {error.strerror}") from None

    def end(self) -> None:
        """End all processes of the container, and remove what the runtime keeps of it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            if self.kind.report is Report.FILE and not self._first:
                # A runtime that is killed while it makes a container does not know what it has made so far.
                with contextlib.suppress(EngineError):
                    self._wait_for_file(_MAKING)
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        elif cleaner := self.kind.clean(self.box):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(cleaner, capture_output=True, check=False, timeout=_GRACE)

    def _find_first(self, report: int) -> int:
        """Return the first process once other commands can join it; 0 if it ended before."""
        first = self._wait_for_file(_STARTING) if self.kind.report is Report.FILE else read_process(report)
        deadline = time.monotonic() + _STARTING
        while not self.kind.has_started(first) and self.running():
            if time.monotonic() > deadline:
                raise _make_late_error()
            time.sleep(_PERIOD)
        return first

    def _wait_for_file(self, seconds: float) -> int:
        """Return the first process as the runtime's file has it; 0 if the runtime ended before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = not self.running()
            with contextlib.suppress(OSError, ValueError):
                return int(self.box.pid_file.read_text())
            if ended:
                return 0
            time.sleep(_PERIOD)
        raise _make_late_error()

    def _create(self, name: str) -> BinaryIO:
        return (self.box.state / name).open("w+b")


def _spawn(launch: Launch, out: BinaryIO, errors: BinaryIO, passed: tuple[int, ...] = ()) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        launch.command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=errors,
        env=dict(launch.env),
        cwd=launch.folder,
        pass_fds=passed,
        start_new_session=True,  # ctrl-C reaches the build alone, which ends its containers
    )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def read_process(descriptor: int) -> int:
    """Return the process that a runtime or a supervisor writes to a pipe; 0 if it ended before.

    Raises:
        EngineError: nothing comes.
    """
    text, deadline = b"", time.monotonic() + _STARTING
    while select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
        chunk = os.read(descriptor, 4096)
        text += chunk
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return int(json.loads(text)["child-pid"])
        if not chunk:
            return 0
    raise _make_late_error()


def _make_late_error() -> EngineError:
    return EngineError(f"a container did not start within {_STARTING:g} s", "the machine may be too busy: try again")


def _convert_status(status: int) -> int:
    return _SIGNALLED - status if status < 0 else status


def _read_end(stream: BinaryIO) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - _MOST_PRINTED, 0))
    return stream.read().decode(errors="replace")
