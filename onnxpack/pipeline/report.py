"""The report of an attempt, ``report.json``: of a build that passed, or of one that failed."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxpack import __version__
from onnxpack.bundle.context import Context
from onnxpack.core.errors import classify_error
from onnxpack.core.regular import read_regular
from onnxpack.core.values import OnnxModel, TensorInfo
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import StageRecord
from onnxpack.pipeline.run import Product
from onnxpack.pipeline.unjudged import list_unjudged
from onnxpack.reports import PAGE
from onnxpack.spec.conclusions import conclude_outputs
from onnxpack.spec.intakes import list_client_axes, list_intakes, replace_given
from onnxpack.worker.sandbox import NAME as SANDBOX

REPORT = "report.json"
_LIMIT = 64 * 2**20  # bytes; another program may have put anything in its place
PASSED, FAILED = "passed", "failed"


@dataclass(frozen=True)
class Attempt:
    """One build of one target: how far it was to go, what it made, and why it ended early if it failed."""

    plan: Plan
    until: str
    chain: tuple[str, ...]
    """The stages that it was to go through."""
    product: Product
    records: tuple[StageRecord, ...] = ()
    failed_stage: str = ""
    error: Exception | None = None
    distributions: Mapping[str, str] = field(default_factory=dict)
    """The Python distributions, with their versions, that the stages' work imported."""
    last_good: Path | None = None
    """The folder of the last output that passed, if it was asked to be put aside."""

    @property
    def passed(self) -> bool:
        """Return whether all that was asked for was done."""
        return self.error is None

    @property
    def result(self) -> str:
        """Return what a build gives: the image's reference, by digest once pushed, else the path of what it left."""
        return self.product.pushed or next(iter(self.product.references), str(self.plan.result(self.until)))


def describe_attempt(attempt: Attempt) -> dict[str, Any]:
    """Return the report as JSON values; what was not asked for, or not reached, is null."""
    from onnxpack.inspection.signature import describe_axes  # as for the page

    plan, product = attempt.plan, attempt.product
    return {
        "name": plan.file.spec.name,
        "version": product.context.version if product.context else None,
        "target": plan.target,
        "description": plan.file.spec.description,
        "status": PASSED if attempt.passed else FAILED,
        "spec": os.path.relpath(plan.file.path, plan.output),
        "until": attempt.until,
        "chain": list(attempt.chain),
        **({} if attempt.error is None else _failure(attempt.failed_stage, attempt.error)),
        "last_good": str(attempt.last_good) if attempt.last_good else None,
        "set": list(plan.file.settings),
        "sandbox": SANDBOX if plan.sandbox else "none",
        "exporter": product.exported.exporter if product.exported else None,
        "stages": [_describe_stage(stage) for stage in attempt.records],
        "model": _model(product.model) | {"axes": describe_axes(plan.axes)} if product.model else None,
        "client": _describe_client(plan, product.model) if product.model else None,
        "parity": asdict(product.parity) if product.parity else None,
        "evaluation": asdict(product.evaluation) if product.evaluation else None,
        "candidates": [asdict(candidate) | {"passed": candidate.passed} for candidate in product.candidates],
        "batching": asdict(product.batching) if product.batching else None,
        "intakes": asdict(product.intakes) if product.intakes else None,
        "packages": [asdict(distribution) for distribution in product.distributions],
        "image": _image(product, plan.base),
        "serving": _describe_serving(plan, product.context, product.model)
        if product.context and product.model
        else None,
        "gates": {name: limit for name, limit in asdict(plan.gates.limits).items() if limit is not None},
        "smoke": asdict(product.smoke) | {"first_answer": product.smoke.first_answer} if product.smoke else None,
        "reproduction": asdict(product.reproduction) if product.reproduction else None,
        "notes": [*plan.notes, *(product.exported.reference.notes if product.exported else ())],
        "not_judged": [asdict(gate) for gate in list_unjudged(plan, product)],
        "ran_on_gpu": bool(product.smoke and product.smoke.on_gpu) if plan.device.gpu else None,
        "tools": _describe_tools(attempt.distributions),
    }


def describe_unchanged(output: Path) -> dict[str, Any]:
    """Return the report of a build that had nothing to do: the last one's, whose stages all stand in the store."""
    report = read_output_report(output)
    stages = [
        {name: value for name, value in stage.items() if name != "why"} | {"seconds": 0.0, "cached": True}
        for stage in report.get("stages", ())
    ]
    return report | {"stages": stages}


def to_json(attempt: Attempt) -> str:
    """Return the report's text."""
    return _dump(describe_attempt(attempt))


def _dump(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2) + "\n"


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write a report into an output's folder, for machines, and beside it the page for people."""
    from onnxpack.reports.page import render_page  # templates take a while to import, and what is unchanged needs none

    text = _dump(report)
    (folder / REPORT).write_text(text)
    # Of what is read back, so that whoever has the file can make the same page.
    (folder / PAGE).write_text(render_page(json.loads(text)), encoding="utf-8")


def describe_failed_attempt(spec: str, stage: str, error: Exception) -> dict[str, Any]:
    """Return the report of a failure before there was an attempt, as of a spec that cannot be read."""
    return {"name": None, "target": None, "status": FAILED, "spec": spec, **_failure(stage, error)}


def read_output_report(folder: Path) -> dict[str, Any]:
    """Return the report in an output's folder, or nothing where there is none that can be read."""
    try:
        found = json.loads(read_regular(folder / REPORT, _LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _failure(stage: str, error: Exception) -> dict[str, Any]:
    known = classify_error(error)
    assert known
    return {"stage": stage, "exit_code": known.exit_code, "problems": [asdict(problem) for problem in known.problems]}


def _model(model: OnnxModel) -> dict[str, Any]:
    return {
        "opset": model.opset,
        "precision": model.precision,
        "size_bytes": model.size_bytes,
        "weights": model.weights,
        "nodes": model.nodes,
        "sha256": model.sha256,
        "digest": model.file.digest,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
    }


def _describe_client(plan: Plan, model: OnnxModel) -> dict[str, Any] | None:
    """Return what a client of the image sends and gets; None where that is what the ONNX file takes and gives."""
    from onnxpack.inspection.signature import describe_axes  # as for the page

    spec = plan.file.spec
    inputs, outputs = replace_given(list_intakes(spec), model.inputs), conclude_outputs(spec, model.outputs)
    if (inputs, outputs) == (model.inputs, model.outputs):
        return None
    return {
        "inputs": [_tensor(tensor) for tensor in inputs],
        "outputs": [_tensor(tensor) for tensor in outputs],
        "axes": describe_axes(list_client_axes(spec)),
    }


def _describe_serving(plan: Plan, context: Context, model: OnnxModel) -> dict[str, Any]:
    """Return what a client has to know, and what runs it: how it is called, where it can be asked, and its limits."""
    view, target = plan.module_view(model), plan.spec_target
    from onnxpack.reports.commands import make_request, name_picture  # as for the page

    return {
        "image": plan.tags(context.version, context.content_key)[0],
        "ports": list(plan.ports),
        "gpu": plan.device.gpu,
        "request": make_request(plan.file.spec) if plan.ports else None,
        "picture": name_picture(plan.file.spec) if plan.ports else None,
        "server": view.server,
        "device": plan.device.name,
        "platform": target.platform,
        "isa": target.isa,
        "threads": plan.threads,
        "workers": view.workers,
        "drain_seconds": view.drain,
        "max_body_bytes": view.body_limit,
        "max_batch_size": view.max_batch_size,
        "max_queue_delay_seconds": view.max_queue_delay,
        "other_targets": [name for name in plan.file.spec.targets if name != plan.target],
    }


def _describe_stage(record: StageRecord) -> dict[str, Any]:
    """Return a piece of work, with why it was done, if it was."""
    found = asdict(record)
    why = found.pop("why")
    return found | ({"why": list(why)} if why else {})


def _describe_tools(distributions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "onnxpack": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "distributions": dict(sorted(distributions.items())),
    }


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _image(product: Product, base: str) -> dict[str, Any] | None:
    if product.image is None:
        return None
    return {
        "reference": product.references[0] if product.references else None,
        "references": list(product.references),
        "id": product.image.id,
        # An engine's own images have none: there it exists only once the image has been pushed.
        "digest": product.pushed.partition("@")[2] if product.pushed else product.image.digest,
        "pushed": product.pushed,
        "archive": product.archive,
        "platform": product.image.platform,
        "compression": product.image.compression or None,
        "size_bytes": product.image.size_bytes,
        "base": {
            "reference": base,
            "id": product.base.id,
            "digest": product.base.digest,
            "python": product.system.python,
            "libc": product.system.libc,
        }
        if product.base and product.system
        else None,
        "layers": [asdict(layer) for layer in product.image.layers],
        "labels": dict(sorted(product.image.labels.items())),
    }
