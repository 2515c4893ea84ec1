"""What a build says about itself: ``report.json``."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from onnxpack.engines.docker import Image
from onnxpack.plan import Plan
from onnxpack.precision.candidates import Candidate
from onnxpack.smoke import Smoke
from onnxpack.values import OnnxModel, TensorInfo
from onnxpack.verify import Comparison, aligned


@dataclass(frozen=True)
class StageRecord:
    """One stage of one build: how long it took, and the key of its result."""

    name: str
    seconds: float
    cached: bool
    key: str


@dataclass(frozen=True)
class OutputParity:
    """One output over all cases: the greatest differences, the least similarity.

    ``min_sqnr_db`` is null where no case has any noise, the other measures where they have no value (labels), and the
    tolerances where equality was asked for.
    """

    name: str
    passed: bool
    differs: str
    """What differs, in words (values, labels, NaN, shape); empty where all cases pass."""
    comparisons: int
    max_abs_diff: float
    max_rel_diff: float
    min_cosine: float | None
    min_sqnr_db: float | None
    argmax_agreement: float | None
    ties: int
    rtol: float | None
    atol: float | None


@dataclass(frozen=True)
class Parity:
    """The comparison with the source model over all cases and outputs; the tolerances are the loosest that were used.

    ``notes`` say what was not verified although the spec asks for it.
    """

    passed: bool
    differs: str
    """What differs, in words (values, labels, NaN, shape); empty where all cases pass."""
    comparisons: int
    max_abs_diff: float
    max_rel_diff: float
    min_cosine: float | None
    min_sqnr_db: float | None
    argmax_agreement: float | None
    ties: int
    rtol: float | None
    atol: float | None
    outputs: tuple[OutputParity, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """The evaluation metric of the source model and of the model that ships, on the same data."""

    metric: str
    source: float
    model: float
    degradation: float


@dataclass(frozen=True)
class Built:
    """What the stages gave, as far as the build went."""

    plan: Plan
    stages: tuple[StageRecord, ...]
    model: OnnxModel
    parity: Parity | None = None
    candidates: tuple[Candidate, ...] = ()
    """The precisions that were tried, float32 first; empty where the spec asks for float32."""
    evaluation: Evaluated | None = None
    version: str | None = None
    image: Image | None = None
    references: tuple[str, ...] = ()
    smoke: Smoke | None = None


def parity_of(rows: list[Comparison], notes: tuple[str, ...] = ()) -> Parity:
    """The summary of at least one comparison."""
    names = dict.fromkeys(row.output for row in rows)
    outputs = [OutputParity(name, **_extremes([row for row in rows if row.output == name])) for name in names]
    return Parity(**_extremes(rows), outputs=tuple(outputs), notes=notes)


def _extremes(rows: list[Comparison]) -> dict[str, Any]:
    def known(field: str) -> list[float]:
        return [value for row in rows if (value := getattr(row, field)) is not None]

    return {
        "passed": not any(row.reason for row in rows),
        "differs": ", ".join(dict.fromkeys(row.differs for row in rows if row.differs)),
        "comparisons": len(rows),
        "max_abs_diff": max(row.max_abs_diff for row in rows),
        "max_rel_diff": max(row.max_rel_diff for row in rows),
        "min_cosine": min(known("cosine"), default=None),
        "min_sqnr_db": min(known("sqnr_db"), default=None),
        "argmax_agreement": min(known("argmax_agreement"), default=None),
        "ties": sum(row.ties for row in rows),
        "rtol": max(known("rtol"), default=None),
        "atol": max(known("atol"), default=None),
    }


def parity_table(parity: Parity) -> str:
    """A line per output, for a person."""
    head = ("output", "compared", "max abs", "max rel", "cosine", "SQNR", "argmax", "ties", "rtol", "atol", "passed")
    cells: list[tuple[str, ...]] = [head]
    for row in parity.outputs:
        exact = row.rtol is None
        cells.append((
            row.name,
            str(row.comparisons),
            f"{row.max_abs_diff:.2g}",
            f"{row.max_rel_diff:.2g}",
            "-" if row.min_cosine is None else f"{row.min_cosine:.7f}",
            "-" if row.min_sqnr_db is None else f"{row.min_sqnr_db:.1f} dB",
            "-" if row.argmax_agreement is None else f"{row.argmax_agreement:.1%}",
            str(row.ties),
            "equal" if exact else f"{row.rtol:g}",
            "equal" if exact else f"{row.atol:g}",
            "yes" if row.passed else f"NO: {row.differs}",
        ))  # fmt: skip
    return "\n".join(aligned(cells))


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
        "evaluation": asdict(built.evaluation) if built.evaluation else None,
        "candidates": [asdict(candidate) | {"passed": candidate.passed} for candidate in built.candidates],
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
