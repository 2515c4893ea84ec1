"""Measures how fast models are beside each other, on this machine."""

from collections.abc import Mapping
from dataclasses import replace

from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import OnnxModel, Reference
from onnxpack.pipeline.run import Build
from onnxpack.tasks.measure import MeasureModels
from onnxpack.timing import Measured
from onnxpack.timing.bench import describe_machine

_SECONDS = 3.0
"""How long each model is timed, together with the others."""


def measure(run: Build, models: Mapping[str, OnnxModel], reference: Reference) -> dict[str, Measured]:
    """Time all models in one run, in turn."""
    inputs, many = (Artifact.of(reference.folder / f"{case}.inputs.npz") for case in choose_timed_cases(run, reference))
    task = MeasureModels(
        dict(models), tuple(models), inputs, many, _SECONDS * len(models), run.plan.threads, describe_this_machine()
    )
    return run.runner.run(task, of=f"{len(models)} models").models


def choose_timed_cases(run: Build, reference: Reference) -> tuple[str, str]:
    """Return the cases at the axes' opt and max sizes."""
    axes = run.plan.axes
    largest = tuple(replace(axis, opt=axis.max) for axis in axes)
    return reference.opt_case(axes), reference.opt_case(largest)


def describe_this_machine() -> tuple[str, ...]:
    """Return what makes a time one of this machine."""
    machine = describe_machine(None)
    return (machine.processor, str(machine.cpus))
