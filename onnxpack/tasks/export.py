"""The task that exports a source model and records its answers."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.values import Exported
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class ExportModel(Task[Exported]):
    """Load the source model, record its answers and export it."""

    NAME = "export"
    spec: SpecPart

    def run(self, folder: Path, say: Say) -> Exported:
        """Write the model, its Reference and its answers for the evaluation data into ``folder``."""
        from onnxpack.sources.export import export_model

        return export_model(self.spec.file, folder)
