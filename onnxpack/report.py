"""What a build says about itself: ``report.json``."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from onnxpack.engines.docker import Image
from onnxpack.plan import Plan
from onnxpack.smoke import Smoke
from onnxpack.values import OnnxModel, TensorInfo
from onnxpack.verify import Comparison


@dataclass(frozen=True)
class StageRecord:
    """One stage of one build: how long it took, and the key of its result."""

    name: str
    seconds: float
    cached: bool
    key: str


@dataclass(frozen=True)
class Parity:
    """The comparison with the source model; the greatest differences over all cases and outputs."""

    passed: bool
    comparisons: int
    max_abs_diff: float
    max_rel_diff: float
    rtol: float
    atol: float


@dataclass(frozen=True)
class Built:
    """What the stages gave, as far as the build went."""

    plan: Plan
    stages: tuple[StageRecord, ...]
    model: OnnxModel
    parity: Parity | None = None
    version: str | None = None
    image: Image | None = None
    references: tuple[str, ...] = ()
    smoke: Smoke | None = None


def parity_of(rows: list[Comparison], plan: Plan) -> Parity:
    """The summary of comparisons that all passed."""
    return Parity(
        passed=True,
        comparisons=len(rows),
        max_abs_diff=max(row.max_abs_diff for row in rows),
        max_rel_diff=max(row.max_rel_diff for row in rows),
        rtol=plan.tolerance.rtol,
        atol=plan.tolerance.atol,
    )


def document(built: Built) -> dict[str, Any]:
    """The report as JSON values; a stage that was not asked for is null."""
    model = built.model
    return {
        "name": built.plan.file.spec.name,
        "version": built.version,
        "target": built.plan.target,
        "status": "passed",
        "set": list(built.plan.file.settings),
        "stages": [asdict(stage) for stage in built.stages],
        "model": {
            "opset": model.opset,
            "precision": model.precision,
            "size_bytes": model.size_bytes,
            "sha256": model.sha256,
            "inputs": [_tensor(tensor) for tensor in model.inputs],
            "outputs": [_tensor(tensor) for tensor in model.outputs],
        },
        "parity": asdict(built.parity) if built.parity else None,
        "image": _image(built),
        "smoke": asdict(built.smoke) if built.smoke else None,
    }


def to_json(built: Built) -> str:
    """The report's file."""
    return json.dumps(document(built), indent=2) + "\n"


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _image(built: Built) -> dict[str, Any] | None:
    if built.image is None:
        return None
    return {
        "reference": built.references[0] if built.references else None,
        "references": list(built.references),
        "id": built.image.id,
        # The digest of a registry's manifest exists only once the image has been pushed.
        "digest": None,
        "size_bytes": built.image.size_bytes,
        "layers": [asdict(layer) for layer in built.image.layers],
    }
