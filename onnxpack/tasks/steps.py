"""The task that puts pre- and postprocessing around a model."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.values import Changed, OnnxModel
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class AddSteps(Task[Changed]):
    """Put a spec's steps around a model."""

    NAME = "steps"
    model: OnnxModel
    spec: SpecPart

    def run(self, folder: Path, say: Say) -> Changed:
        """Write the model with its steps into ``folder``."""
        from onnxpack.transforms.graphs import add_steps

        return add_steps(self.model.path, folder, self.spec.file)
