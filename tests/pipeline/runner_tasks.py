"""Tasks for the runner's tests: each runs a little code of the test's own in a child process."""

import runpy
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError
from onnxpack.worker import Effort, Say, Task


@dataclass(frozen=True)
class RunScript(Task[str]):
    """Run ``script``, a file of the working folder, and return what it leaves in ``result``."""

    NAME = "script"
    script: str
    value: int = 0

    def run(self, folder: Path, say: Say) -> str:
        return str(runpy.run_path(self.script, {"value": self.value})["result"])


@dataclass(frozen=True)
class WriteFile(Task[Artifact]):
    NAME = "write"
    text: str

    def run(self, folder: Path, say: Say) -> Artifact:
        (folder / "file").write_text(self.text)
        return Artifact.of(folder / "file")


@dataclass(frozen=True)
class Fail(Task[None]):
    NAME = "fail"

    def run(self, folder: Path, say: Say) -> None:
        (folder / "half").touch()
        raise GateError("too much")


@dataclass(frozen=True)
class CutShort(Task[bool]):
    """Be complete only with more than a second to do it in."""

    NAME = "short"
    limit: Effort

    def run(self, folder: Path, say: Say) -> bool:
        return self.limit.seconds > 1

    def keeps(self, result: bool) -> bool:
        return result
