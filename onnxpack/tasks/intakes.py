"""The task that compares what the rendered module makes of pictures and texts with what training makes of them."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.intake.figures import IntakeFigures
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class CheckIntakes(Task[IntakeFigures]):
    """Run the rendered modules of steps on pictures and texts of all kinds."""

    NAME = "intakes"
    TRUSTED = True
    spec: SpecPart
    modules: dict[str, str]
    """The texts of the rendered modules, by file name."""
    data: dict[str, Artifact]
    """The files that lie beside them, by their names there."""

    def run(self, folder: Path, say: Say) -> IntakeFigures:
        """Compare them with the libraries themselves."""
        from onnxpack.intake.check import check_intakes

        return check_intakes(self.spec.file, self.modules, {name: file.path for name, file in self.data.items()})
