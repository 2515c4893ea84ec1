"""Sums up comparisons by output, and formats the figures: `verify`, `build` and `inspect` show them alike."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from onnxpack.core.text import format_table
from onnxpack.parity.compare import Comparison


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
class SizeParity:
    """One output at one size of every dynamic axis: the greatest differences over the cases of that size."""

    output: str
    sizes: dict[str, int]
    comparisons: int
    passed: bool
    max_abs_diff: float
    max_rel_diff: float


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
    sizes: tuple[SizeParity, ...] = ()
    """The same by output and size; empty where the sizes are not known, and where nothing is dynamic."""


def summarize_parity(
    rows: list[Comparison], notes: tuple[str, ...] = (), sizes: Mapping[str, dict[str, int]] | None = None
) -> Parity:
    """Return the summary of at least one comparison; ``sizes`` has those of the dynamic axes of each case."""
    names = dict.fromkeys(row.output for row in rows)
    outputs = [OutputParity(name, **_extremes([row for row in rows if row.output == name])) for name in names]
    return Parity(**_extremes(rows), outputs=tuple(outputs), notes=notes, sizes=_list_sizes(rows, sizes or {}))


def _list_sizes(rows: list[Comparison], sizes: Mapping[str, dict[str, int]]) -> tuple[SizeParity, ...]:
    groups: dict[tuple[Any, ...], list[Comparison]] = {}
    for row in rows:
        if known := sizes.get(row.case):
            groups.setdefault((row.output, *sorted(known.items())), []).append(row)
    # By output as the model has them, then from the smallest sizes to the largest.
    names = {name: index for index, name in enumerate(dict.fromkeys(row.output for row in rows))}
    ordered = sorted(groups.items(), key=lambda item: (names[item[0][0]], [size for _, size in item[0][1:]]))
    return tuple(
        SizeParity(
            output,
            dict(known),
            len(group),
            not any(row.reason for row in group),
            max(row.max_abs_diff for row in group),
            max(row.max_rel_diff for row in group),
        )
        for (output, *known), group in ordered
    )


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


def format_parity(outputs: Iterable[OutputParity]) -> str:
    """Return a table for a person with a line for each output."""
    cells: list[tuple[str, ...]] = [("output", *_HEADS.values(), "passed")]
    for row in outputs:
        passed = "yes" if row.passed else f"NO: {row.differs}"
        cells.append((row.name, *(format_measure(name, getattr(row, name)) for name in _HEADS), passed))
    return "\n".join(format_table(cells))


def read_outputs(rows: Iterable[dict[str, Any]]) -> list[OutputParity]:
    """Return the outputs of a report's parity; a measure that a report of an earlier version lacks is None."""
    names = [field.name for field in fields(OutputParity)]
    found: list[dict[str, Any]] = [{name: row.get(name) for name in names} for row in rows]
    return [OutputParity(**row) for row in found]


def format_measure(name: str, value: Any) -> str:
    """Return a figure of a comparison as every table shows it: ``7.2e-07``, ``45.1 dB``, ``99.8%``.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is not a number.
    """
    if value is None:
        return "equal" if name in ("rtol", "atol") else "-"
    return _FORMATS.get(name, str)(value)


_HEADS = {
    "comparisons": "compared", "max_abs_diff": "max abs", "max_rel_diff": "max rel", "min_cosine": "cosine",
    "min_sqnr_db": "SQNR", "argmax_agreement": "argmax", "ties": "ties", "rtol": "rtol", "atol": "atol",
}  # fmt: skip
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "max_abs_diff": "{:.2g}".format,
    "max_rel_diff": "{:.2g}".format,
    "min_cosine": "{:.7f}".format,  # float32 has 7 digits: the eighth would be noise
    "min_sqnr_db": "{:.1f} dB".format,
    "argmax_agreement": "{:.1%}".format,
    "rtol": "{:g}".format,
    "atol": "{:g}".format,
}
