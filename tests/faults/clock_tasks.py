"""Tasks that run a test's own code, and read a spec's model as a library does: unheard by Python."""

import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class RunCode(Task[str]):
    """Run ``code.py`` of the working folder, whose folder is importable, and return what it leaves in ``result``."""

    NAME = "code"

    def run(self, folder: Path, say: Say) -> str:
        sys.path.insert(0, str(Path.cwd()))
        return str(runpy.run_path("code.py")["result"])


@dataclass(frozen=True)
class ReadNatively(Task[str]):
    """Run ``meanwhile.sh`` of the working folder and return the model's content, read by another program."""

    NAME = "native"
    spec: SpecPart

    def run(self, folder: Path, say: Say) -> str:
        subprocess.run(["sh", "meanwhile.sh"], check=True)
        return subprocess.check_output(["cat", self.spec.file.resolve("model.onnx")], text=True)
