"""PyTorch: choose the exporter that makes the file, where the spec leaves it open."""

import dataclasses
from dataclasses import dataclass

import torch

from onnxpack.core.errors import OnnxpackError, SourceError
from onnxpack.data.test_inputs import choose_odd_sizes, choose_tracing_sizes, draw
from onnxpack.parity.compare import clean_runtime_error, compare_case
from onnxpack.sources.torch.exporters import TORCHSCRIPT_MAX_OPSET, ExportJob, Name, has_torchscript, run_exporter
from onnxpack.sources.torch.values import to_numpy, to_tensors

_MAX_COMPARED = 1 << 30
"""Bytes of parameters up to which an export is compared here: the runtime holds them a second time."""
_Choice = tuple[Name, tuple[str, ...]]


@dataclass(frozen=True)
class _Attempt:
    """The outcome of one exporter: an error, or a file that agrees with the model, or differs (in words)."""

    name: Name
    job: ExportJob
    error: OnnxpackError | None = None
    difference: str = ""

    @property
    def words(self) -> str:
        """Return why this attempt is not taken; empty if it can be."""
        if self.error:
            return self.error.problems[0].message
        return self.difference and f"the export by {self.name} {self.difference}"


def choose_exporter(job: ExportJob) -> _Choice:
    """Export by dynamo, or by TorchScript where dynamo fails or differs; return which, and a note that says why.

    TorchScript is taken only where its trace fixes nothing that depends on data and its file gives the model's own
    answers. Where both files differ from the model, dynamo's stays, for verification to refuse.

    Raises:
        SourceError: neither makes a file.
    """
    if has_torchscript(job.flat):
        run_exporter("torchscript", job)
        return "torchscript", ("exported by torchscript: the model holds TorchScript, which dynamo cannot read",)
    # First, as it is torch's own default.
    dynamo = _attempt("dynamo", job)
    if not dynamo.words:
        return _take(dynamo)
    if (job.file.spec.opset or 0) > TORCHSCRIPT_MAX_OPSET:
        if dynamo.error:
            raise _with_hint(dynamo.error, f"torchscript makes opset {TORCHSCRIPT_MAX_OPSET} at most")
        return _take(dynamo)
    torchscript = _attempt("torchscript", job)
    if not torchscript.words:
        return _take(torchscript, f"exported by torchscript: {dynamo.words}")
    if dynamo.error is None:
        return _take(dynamo, f"exported by dynamo, although {dynamo.words}: {torchscript.words}")
    if torchscript.error is None:
        raise _with_hint(dynamo.error, f"torchscript was tried too: {torchscript.words}")
    failed = _with_hint(dynamo.error, "torchscript was tried too, and fails with the next error")
    raise SourceError([*failed.problems, *torchscript.error.problems])


def _attempt(name: Name, job: ExportJob) -> _Attempt:
    # A folder for each: external data has the same name in both.
    folder = job.destination.parent / name
    folder.mkdir()
    job = dataclasses.replace(job, destination=folder / job.destination.name)
    try:
        run_exporter(name, job)
    except OnnxpackError as error:
        return _Attempt(name, job, error)
    return _Attempt(name, job, difference=find_difference(job))


def _take(attempt: _Attempt, *notes: str) -> _Choice:
    """Move the file, and its external data, to the place that was asked for."""
    folder = attempt.job.destination.parent
    for path in folder.iterdir():
        path.rename(folder.parent / path.name)
    return attempt.name, notes


def _with_hint(error: OnnxpackError, hint: str) -> SourceError:
    first, *more = error.problems
    return SourceError([dataclasses.replace(first, hint=hint), *more])


def find_difference(job: ExportJob) -> str:
    """Compare an export with its model at the traced sizes and at odd ones, two samples each.

    Returns in words where they differ, empty where they agree, or where the model is too large to compare it here.
    """
    from onnxpack.graph.widen import open_cpu_session

    if sum(parameter.nbytes for parameter in job.flat.parameters()) > _MAX_COMPARED:
        return ""
    spec = job.file.spec
    try:
        running = open_cpu_session(job.destination)
    except SourceError as error:
        return f"does not run: {error.problems[0].message}"
    # Each size twice: a branch that depends on the data is fixed to the side that the traced inputs took.
    for number, at in enumerate([choose_tracing_sizes(spec.axes), choose_odd_sizes(spec.axes)] * 2):
        inputs = draw(spec, at, number)
        sizes = ", ".join(f"{name} {size}" for name, size in at.items()) or "the same sizes"
        with torch.no_grad():
            copies = {name: array.copy() for name, array in inputs.items()}  # a model may change its inputs in place
            expected = [to_numpy(tensor) for tensor in job.flat(*to_tensors(copies))]
        try:
            answers = running.run(None, inputs)
        except Exception as error:  # onnxruntime's exceptions share no base
            return f"does not run at {sizes}: {clean_runtime_error(error)}"
        named = [{str(index): array for index, array in enumerate(arrays)} for arrays in (expected, answers)]
        rows = compare_case("", named[0], named[1], spec.verify.rtol, spec.verify.atol)
        if wrong := [row for row in rows if row.reason]:
            return f"answers otherwise at {sizes}: {wrong[0].reason}"
    return ""
