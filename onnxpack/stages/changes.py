"""What changes a verified graph: its pre- and postprocessing, optimisation, a reduced precision.

Each is the identity where the spec asks for nothing, and what changed the graph is verified again.
"""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnxpack.child import call
from onnxpack.precision import HALVES
from onnxpack.report import Built, Parity, parity_of
from onnxpack.stages.judging import comparisons
from onnxpack.stages.run import Build, Exported
from onnxpack.store import digest, tool_digest
from onnxpack.values import MODEL, OnnxModel, model_from
from onnxpack.verify import require

_TOOLS = ("numpy", "onnx", "onnxruntime")


def with_steps(run: Build, built: Built, exported: Exported) -> Built:
    """The model with its pre- and postprocessing around it."""
    spec = run.plan.file.spec
    if not spec.preprocess and not spec.postprocess:
        return built
    request = {"spec": run.plan.file.to_json()}
    model, _ = changed(run, "steps", built.model, "onnxpack.graph.steps:add_steps", request, exported.key)
    return replace(built, model=model, parity=verified(run, model, exported, "the model with its steps"))


def fused_first(run: Build, built: Built, exported: Exported) -> Built:
    """Optimised before the precision is reduced, where that is to 16 bits: onnxruntime optimises such a model for the
    CPU that does it, with casts to float32 wherever it has no kernel.
    """
    return _optimized(run, built, exported) if _in_16_bits(run) else built


def fused_last(run: Build, built: Built, exported: Exported) -> Built:
    """Optimised after the precision was reduced, where that is to 8 bits or fewer: quantizers know no fused nodes."""
    return built if _in_16_bits(run) else _optimized(run, built, exported)


def _in_16_bits(run: Build) -> bool:
    return run.plan.device.name == "cuda" or run.plan.precision in HALVES


def _optimized(run: Build, built: Built, exported: Exported) -> Built:
    target = run.plan.file.spec.targets[run.plan.target]
    if target.optimize == "none":
        return built
    request = {"level": target.optimize, "isa": target.isa}
    model, _ = changed(run, "optimize", built.model, "onnxpack.graph.optimize:optimize_model", request, request)
    model = replace(model, precision=built.model.precision)
    return replace(built, model=model, parity=verified(run, model, exported, "the optimised model"))


def changed(
    run: Build, stage: str, model: OnnxModel, function: str, request: dict[str, Any], reads: Any, of: str = ""
) -> tuple[OnnxModel, dict[str, Any]]:
    """What a child makes of a model: the new file, and the facts that it tells.

    ``reads`` is what the result depends on besides the model, as JSON values.
    """

    def make(folder: Path) -> None:
        with run.store.scratch() as scratch:
            told = call(function, {"model": str(model.path), "destination": str(folder), **request}, scratch)
        (folder / "facts.json").write_text(json.dumps(told))

    versions = {name: version(name) for name in _TOOLS}
    key = digest(stage, tool_digest(), versions, model.sha256, reads)
    stored = run.keyed(stage, key, make, of)
    told: dict[str, Any] = json.loads((stored / "facts.json").read_text())
    for note in told["notes"]:
        run.progress.note(note)
    return model_from(told["model"], stored / MODEL), told


def verified(run: Build, model: OnnxModel, exported: Exported, what: str) -> Parity:
    """The gate for a model that a stage changed.

    Raises:
        ParityError: it differs from what a client is to get.
    """
    rows = comparisons(run, model, exported.served, exported.key, run.plan.tolerance(model.precision))
    require(f"{what} differs from its source", rows)
    return parity_of(rows, exported.served.notes)
