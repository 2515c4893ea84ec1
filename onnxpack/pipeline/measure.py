"""How fast models are beside each other, on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.artifacts import Artifact
from onnxpack.measure import Measured
from onnxpack.measure.bench import this_machine
from onnxpack.pipeline.run import Build
from onnxpack.values import OnnxModel, Reference
from onnxpack.worker import Say, Task

_SECONDS = 3.0
"""How long each model is timed, together with the others."""


@dataclass(frozen=True)
class Speeds:
    """What was measured of each model, by its name in the request."""

    models: dict[str, Measured]


@dataclass(frozen=True)
class MeasureModels(Task[Speeds]):
    """Time models in turn, in one process; the first is what the others are compared with."""

    NAME = "measure"
    models: dict[str, OnnxModel]
    order: tuple[str, ...]
    """The names of the models; a key does not tell the order of a mapping."""
    inputs: Artifact
    throughput: Artifact
    seconds: float
    threads: int | None
    machine: tuple[str, ...]

    def run(self, folder: Path, say: Say) -> Speeds:
        """Measure latency, throughput, load time and peak memory."""
        from onnxpack.measure.models import measure

        models = {name: self.models[name].path for name in self.order}
        return Speeds(measure(models, self.inputs.path, self.throughput.path, self.seconds, self.threads))


def measure(run: Build, models: Mapping[str, OnnxModel], reference: Reference) -> dict[str, Measured]:
    """Time all models in one run, in turn."""
    inputs, many = (Artifact.of(reference.folder / f"{case}.inputs.npz") for case in timed_cases(run, reference))
    task = MeasureModels(
        dict(models), tuple(models), inputs, many, _SECONDS * len(models), run.plan.threads, _this_machine()
    )
    return run.runner.run(task).models


def timed_cases(run: Build, reference: Reference) -> tuple[str, str]:
    """Return the cases at the axes' opt and max sizes."""
    axes = run.plan.axes
    largest = tuple(replace(axis, opt=axis.max) for axis in axes)
    return reference.opt_case(axes), reference.opt_case(largest)


def _this_machine() -> tuple[str, ...]:
    """Return what makes a time one of this machine."""
    machine = this_machine(None)
    return (machine.processor, str(machine.cpus))
