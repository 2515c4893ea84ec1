"""The figures that a report is made of, and their tables."""

from dataclasses import dataclass
from typing import Any

from onnxpack.parity.compare import Comparison, aligned


@dataclass(frozen=True)
class StageRecord:
    """One stage of one build: how long it took, and the key of its result."""

    name: str
    seconds: float
    cached: bool
    key: str
    of: str = ""
    """What tells it apart from others of its name: a precision, the source."""


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
    model_digest: str = ""
    """Of the file that was scored, with its external data."""


def parity_of(rows: list[Comparison], notes: tuple[str, ...] = ()) -> Parity:
    """Return the summary of at least one comparison."""
    names = dict.fromkeys(row.output for row in rows)
    outputs = [OutputParity(name, **_extremes([row for row in rows if row.output == name])) for name in names]
    return Parity(**_extremes(rows), outputs=tuple(outputs), notes=notes)


def _extremes(rows: list[Comparison]) -> dict[str, Any]:
    def list_known(field: str) -> list[float]:
        return [value for row in rows if (value := getattr(row, field)) is not None]

    return {
        "passed": not any(row.reason for row in rows),
        "differs": ", ".join(dict.fromkeys(row.differs for row in rows if row.differs)),
        "comparisons": len(rows),
        "max_abs_diff": max(row.max_abs_diff for row in rows),
        "max_rel_diff": max(row.max_rel_diff for row in rows),
        "min_cosine": min(list_known("cosine"), default=None),
        "min_sqnr_db": min(list_known("sqnr_db"), default=None),
        "argmax_agreement": min(list_known("argmax_agreement"), default=None),
        "ties": sum(row.ties for row in rows),
        "rtol": max(list_known("rtol"), default=None),
        "atol": max(list_known("atol"), default=None),
    }


def parity_table(parity: Parity) -> str:
    """Return a table for a person with a line for each output."""
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
