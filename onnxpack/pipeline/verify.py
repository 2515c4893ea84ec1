"""The stage ``verify``: the exported model against the source model's answers, and the gate for every later change."""

from dataclasses import replace

from onnxpack.core.errors import OnnxpackError
from onnxpack.core.values import Exported, OnnxModel, Reference
from onnxpack.parity.compare import Comparison, require_parity
from onnxpack.parity.summary import Parity, summarize_parity
from onnxpack.pipeline.export import prepare_source
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.compare import CompareModel, LocateDifference
from onnxpack.worker.call import Setting, call

_LOCATE_SECONDS = 300
"""How long a build that failed may look for where the difference comes from."""
_SOURCE_FIELDS = ("model", "outputs", "dynamic_axes", "opset", "verify")


def verify(run: Build, product: Product) -> Product:
    """Judge the exported model.

    Raises:
        ParityError: it differs from its source; with where the difference begins, as far as that can be found.
    """
    exported, model = product.exported, product.model
    assert exported
    assert model
    rows = compare(run, model, exported.reference, "float32", "export")
    what = "the exported model differs from its source"
    if any(row.reason for row in rows):
        require_parity(what, rows, _place(run, model, exported, rows))
    require_parity(what, rows)
    return replace(product, parity=summarize_parity(rows, exported.reference.notes, exported.reference.all_sizes))


def compare(run: Build, model: OnnxModel, reference: Reference, precision: str, of: str = "") -> list[Comparison]:
    """Compare a model's answers with those of a Reference, by the tolerance of a precision."""
    task = CompareModel(model, reference, run.plan.tolerance(precision))
    return list(run.runner.run(task, of=of).rows)


def require_same(run: Build, model: OnnxModel, exported: Exported, what: str) -> Parity:
    """Judge a model that a stage changed, by what a client is to get.

    Raises:
        ParityError: it differs.
    """
    rows = compare(run, model, exported.served, model.precision, what)
    require_parity(f"the {what} model differs from its source", rows)
    return summarize_parity(rows, exported.served.notes, exported.served.all_sizes)


def _place(run: Build, model: OnnxModel, exported: Exported, rows: list[Comparison]) -> str:
    """Say where the difference comes from, as far as it can be found in bounded time; never an error of its own."""
    if run.runner.IDLE:
        return ""
    run.progress.note("looking for where it differs")
    # Backwards, so that the first difference of each case is the one that stays.
    reasons = {row.case: row.reason for row in reversed(rows) if row.reason}
    try:
        file, python = prepare_source(run)
        part = SpecPart.of(file, *_SOURCE_FIELDS)
        task = LocateDifference(part, model, exported.reference, run.plan.tolerance("float32"), reasons)
        with run.store.scratch() as scratch:
            setting = Setting(scratch, python=python, within=_LOCATE_SECONDS, sandbox=run.plan.sandbox)
            return call(task, setting).result.words
    except OnnxpackError as error:
        return f"where it differs was not found: {error.problems[0].message}"
