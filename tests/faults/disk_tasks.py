"""Tasks that need room, and meet a full disk in ways that hide it."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, SourceError
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class Fill(Task[Artifact]):
    """Write a file of so many bytes."""

    NAME = "fill"
    size: int

    def run(self, folder: Path, say: Say) -> Artifact:
        (folder / "file").write_bytes(bytes([self.size % 251]) * self.size)
        return Artifact.of(folder / "file")


@dataclass(frozen=True)
class MeetFullDisk(Task[None]):
    """Fail because a disk is full, as ``how`` a library or code of a model tells it."""

    NAME = "meet"
    how: str
    place: str = ""

    def run(self, folder: Path, say: Say) -> None:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.place or None)
        if self.how == "plainly":
            raise full
        if self.how == "by words of native code":
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : write failed: No space left on device")
        try:
            raise full
        except OSError as error:
            if self.how == "by another exception":
                raise ValueError("cannot save") from error
            if self.how == "by an exception that hides it":
                raise ValueError("cannot save") from None
            if self.how == "by a typed error":
                raise SourceError("factory raised OSError") from None
            raise GateError("too far off")  # noqa: B904 - as code does that thinks of nothing
