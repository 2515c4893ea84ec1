"""What is found out about an ONNX model: how it compares, scores and performs. Kept, as any stage's result is."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from onnxpack.child import call
from onnxpack.evaluation import degradation
from onnxpack.measure import Measured, measured_from
from onnxpack.precision import Samples, Wish
from onnxpack.report import Evaluated
from onnxpack.spec.origin import data_file, is_code
from onnxpack.stages.run import Build, Exported
from onnxpack.store import digest, file_digest, tool_digest
from onnxpack.values import OnnxModel, Reference
from onnxpack.verify import Comparison, Tolerance

_SECONDS = 3.0
"""How long each model is timed, together with the others."""


def comparisons(
    run: Build, model: OnnxModel, reference: Reference, source: str, tolerance: Tolerance
) -> list[Comparison]:
    """The model's answers against those of the Reference, case by case; ``source`` is the key of what made it."""
    request = {
        "model": str(model.path),
        "reference": str(reference.folder),
        "cases": list(reference.judging(tolerance.precision)),
        **vars(tolerance),
    }

    def compare(folder: Path) -> None:
        with run.store.scratch() as scratch:
            rows = call("onnxpack.verify:verify_model", request, scratch)
        (folder / "rows.json").write_text(json.dumps(rows))

    key = digest("verify", tool_digest(), source, model.sha256, reference.folder.name, vars(tolerance))
    stored = run.keyed("verify", key, compare)
    return [Comparison(**row) for row in json.loads((stored / "rows.json").read_text())]


def speeds(run: Build, models: Mapping[str, OnnxModel], reference: Reference) -> dict[str, Measured]:
    """All models in one run, in turn; the first is what the others are compared with."""
    inputs, many = (reference.folder / f"{case}.inputs.npz" for case in timed_cases(run, reference))
    request = {
        "models": {name: str(model.path) for name, model in models.items()},
        "inputs": str(inputs),
        "throughput": str(many),
        "seconds": _SECONDS * len(models),
        "threads": run.plan.threads,
    }

    def time_them(folder: Path) -> None:
        with run.store.scratch() as scratch:
            (folder / "speeds.json").write_text(json.dumps(call("onnxpack.measure.models:measure", request, scratch)))

    machine = [platform.machine(), platform.processor(), os.cpu_count(), run.plan.threads]
    shas = {name: model.sha256 for name, model in models.items()}
    key = digest("measure", tool_digest(), shas, machine, file_digest(inputs), file_digest(many))
    stored = run.keyed("measure", key, time_them)
    return {name: measured_from(row) for name, row in json.loads((stored / "speeds.json").read_text()).items()}


def evaluated(run: Build, model: OnnxModel, exported: Exported) -> Evaluated:
    """The evaluation metric of the source model and of this one, on the same data.

    Raises:
        OnnxpackError: the metric has no value for one of them.
    """
    spec = run.plan.file.to_json()
    evaluation = run.plan.file.spec.evaluation
    assert evaluation
    code = data_file(evaluation.metric) if is_code(evaluation.metric) else None
    metric = [evaluation.metric, file_digest(run.plan.file.resolve(code)) if code else None]
    ask = [exported.key, metric, evaluation.labels]
    source = _score(run, "score_source", {"spec": spec, "folder": str(exported.folder)}, ask, "source")
    own = _score(run, "score_model", {"spec": spec, "model": str(model.path)}, [*ask, model.sha256], model.precision)
    return Evaluated(evaluation.metric, source, own, degradation(evaluation.metric, source, own))


def _score(run: Build, function: str, request: dict[str, str], reads: list[Any], of: str) -> float:
    def compute(folder: Path) -> None:
        with run.store.scratch() as scratch:
            found = call(f"onnxpack.evaluation:{function}", request, scratch)
        (folder / "score.json").write_text(json.dumps(found))

    stored = run.keyed("evaluate", digest("evaluate", tool_digest(), function, reads), compute, of)
    return float(json.loads((stored / "score.json").read_text())["score"])


def calibrated(run: Build, model: OnnxModel, wish: Wish, samples: Samples, source: str) -> Path:
    """The folder of what a float32 model's tensors were seen to hold; every try of int8-static reads it."""
    request = {"model": str(model.path), "wish": asdict(wish), "samples": asdict(samples)}

    def look(folder: Path) -> None:
        with run.store.scratch() as scratch, run.following(scratch / "progress"):
            told = {"destination": str(folder), "progress": str(scratch / "progress")}
            call("onnxpack.precision.reduce:calibrate_model", {**request, **told}, scratch)

    key = digest("calibrate", tool_digest(), source, model.sha256, samples.rows, samples.method, wish.device)
    return run.keyed("calibrate", key, look)


def sensitivity(
    run: Build, model: OnnxModel, wish: Wish, samples: Samples, calibration: Path, source: str
) -> tuple[str, ...]:
    """The layers of int8-static that lose the most when they alone have 8 bits, the worst first."""
    request = {
        "model": str(model.path),
        "calibration": str(calibration),
        "wish": asdict(wish),
        "samples": asdict(samples),
        "seconds": run.budget / 4,
    }

    def rank(folder: Path) -> None:
        with run.store.scratch() as scratch:
            ranked = call("onnxpack.precision.sensitivity:rank_layers", {**request, "scratch": str(scratch)}, scratch)
        (folder / "layers.json").write_text(json.dumps(ranked))

    key = digest("sensitivity", tool_digest(), source, model.sha256, asdict(wish), samples.rows, samples.method)
    stored = run.keyed("sensitivity", key, rank)
    return tuple(layer for layer, _ in json.loads((stored / "layers.json").read_text()))


def timed_cases(run: Build, reference: Reference) -> tuple[str, str]:
    """Those at the axes' opt and max sizes."""
    axes = run.plan.axes
    largest = tuple(replace(axis, opt=axis.max) for axis in axes)
    return reference.opt_case(axes), reference.opt_case(largest)
