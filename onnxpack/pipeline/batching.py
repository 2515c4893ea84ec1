"""Dynamic batching: that a model allows it is proved, and what it would bring is measured.

Batching is never turned on by a measurement: what an image holds must not depend on how busy the machine was that built
it. So a build says what batching would bring, and the spec decides.
"""

from dataclasses import fields

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, Problem, SpecError
from onnxpack.core.values import Axis, OnnxModel, Reference, find_batch_axis
from onnxpack.parity.compare import Comparison, format_comparisons
from onnxpack.pipeline.measure import describe_this_machine
from onnxpack.pipeline.run import Build
from onnxpack.spec.delivery import Runtime
from onnxpack.tasks.compare import CompareBatches
from onnxpack.tasks.measure import MeasureBatch
from onnxpack.timing import BatchGain

_USUAL_ROWS = 32
"""The rows of a batch that is measured where the spec names no number."""
_SECONDS = 1.0
_WORTH_TELLING = 1.5
"""How many times as many requests a second batches must allow to be suggested."""
_REQUEST_SECONDS = 150e-6
"""What the server takes for a request besides the model (docs/serving.md): a model of microseconds gains nothing."""


def require_separate_rows(run: Build, model: OnnxModel, served: Reference) -> None:
    """Require, where the spec asks for batching, that no row's answer depends on the other rows of its batch.

    Raises:
        SpecError: an output has another first axis than the inputs.
        GateError: an answer differs, or no two requests of the Reference can be run together.
    """
    batching = run.plan.file.spec.runtime.batching
    if batching is None:
        return
    where = run.plan.file.where("runtime", "batching")
    axis = find_row_axis(run, model)
    if axis is None:
        shapes = ", ".join(f"{info.name} [{', '.join(map(str, info.shape))}]" for info in model.outputs)
        text = f"batching needs all outputs to have the inputs' first axis as their first, and nowhere else: {shapes}"
        raise SpecError(Problem(text, "remove `runtime.batching`, or change the outputs", where))
    rows = _compare(run, model, served, max(axis.min, 1), batching.max_batch_size)
    if not rows:
        text = "batching was not proved: no two requests of the compared cases have equal shapes"
        raise GateError(Problem(text, "give `verify.samples` two rows or more, or remove `runtime.batching`", where))
    failed = [row for row in rows if row.reason]
    if failed:
        text = f"output '{failed[0].output}' of {failed[0].case} depends on other rows of its batch"
        detail = format_comparisons(failed)
        raise GateError(Problem(text, "remove `runtime.batching`", where, detail))


def measure_batching(run: Build, model: OnnxModel, served: Reference) -> BatchGain | None:
    """Measure what batches bring, and suggest them where that is much and the model allows it.

    It returns None where there is no server, no batch axis, no second row, or a GPU, whose speed is not measured.
    """
    plan = run.plan
    asked, axis = plan.file.spec.runtime.batching, find_row_axis(run, model)
    if plan.port is None or axis is None or plan.device.gpu or plan.foreign:
        return None
    least = max(axis.min, 1)
    most = asked.max_batch_size if asked else min(_USUAL_ROWS, axis.max)
    if most <= least:
        return None
    inputs = Artifact.of(served.folder / f"{served.opt_case(plan.axes)}.inputs.npz")
    task = MeasureBatch(model, inputs, least, most, _SECONDS, plan.threads, describe_this_machine())
    found = run.runner.run(task)
    gain = estimate_served_gain(found)
    words = f"in batches of {most} the model answers {found.gain:.2f} times as many rows each second"
    if asked and gain < 1:
        run.progress.note(f"{words}: `runtime.batching` is no gain on this machine")
    if asked is None and gain >= _WORTH_TELLING and is_supported():
        rows = _compare(run, model, served, least, most)
        if rows and not any(row.reason for row in rows):
            run.progress.note(f"{words}: `runtime.batching: {{max_batch_size: {most}}}` combines requests")
    return found


def estimate_served_gain(found: BatchGain) -> float:
    """Return how many times as many requests a server answers in batches, its own work for each of them included."""
    alone, together = (
        _REQUEST_SECONDS + found.request_rows / rate
        for rate in (found.request_rows_per_second, found.batch_rows_per_second)
    )
    return alone / together


def find_row_axis(run: Build, model: OnnxModel) -> Axis | None:
    """Return the axis along which requests can be joined, and their answers parted."""
    name = find_batch_axis(model.inputs, model.outputs)
    elsewhere = {size for info in (*model.inputs, *model.outputs) for size in info.shape[1:]}
    return next((axis for axis in run.plan.axes if axis.name == name and name not in elsewhere), None)


def is_supported() -> bool:
    """Return whether this release takes ``runtime.batching``: nothing is suggested that would be refused."""
    return not next(field for field in fields(Runtime) if field.name == "batching").metadata["later"]


def _compare(run: Build, model: OnnxModel, served: Reference, least: int, most: int) -> list[Comparison]:
    task = CompareBatches(model, served, run.plan.tolerance(model.precision), least, most)
    return list(run.runner.run(task, of=model.precision).rows)
