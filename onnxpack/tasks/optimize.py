"""The task that optimises a graph."""

from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.core.values import Changed, OnnxModel
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class OptimizeModel(Task[Changed]):
    """Optimise a graph at ``basic``, ``extended`` or ``all``."""

    NAME = "optimize"
    model: OnnxModel
    level: str
    isa: str | None
    machine: tuple[str, ...]
    """The instruction sets of this machine, where the level lays weights out for them."""

    def run(self, folder: Path, say: Say) -> Changed:
        """Write the optimised model into ``folder``."""
        from onnxpack.graph.optimize import optimize_model

        changed = optimize_model(self.model.path, folder, self.level, self.isa)
        return replace(changed, model=replace(changed.model, precision=self.model.precision))
