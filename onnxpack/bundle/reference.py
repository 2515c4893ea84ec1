"""The part of the Reference that lies beside a bundle, so that an image's answers can be checked wherever it runs."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from onnxpack.core.values import ANSWERS, Reference
from onnxpack.data.test_inputs import SAMPLES, Arrays, write_arrays
from onnxpack.parity.compare import Comparison, read_answers
from onnxpack.timing.probe import read_inputs

REFERENCE_FILE = "reference.npz"
_MOST_BYTES = 64 * 2**10
"""The size of the file: little beside any model, and enough for the least sizes of most."""
_MOST_CASES = 3

Array = np.ndarray[Any, Any]


def pack_reference(reference: Reference, rows: Iterable[Comparison]) -> bytes:
    """Return the smallest cases of a Reference as an npz with limits; empty where none fits into 64 KiB.

    ``rows`` are the comparisons that the model passed, whose tolerances become the limits. Cases of the user's own
    samples stay out, as they may hold what not everybody may read, and so do cases with labels that only ties or a
    share of wrong ones excuse, or with outputs that the module makes of texts: the image's ``reference.py`` knows
    neither. What clients send is there as they send it, files as base64.
    """
    judged: dict[str, list[Comparison]] = {}
    for row in rows:
        judged.setdefault(row.case, []).append(row)
    sizes = {case: _measure_case(reference, case) for case in reference.asked if not case.startswith(SAMPLES)}
    packed: Arrays = {}
    count = 0
    for case in sorted(sizes, key=lambda case: sizes[case]):
        found = judged.get(case, [])
        if count == _MOST_CASES or sizes[case] > _MOST_BYTES or not _is_told(reference, case, found):
            continue
        inputs = read_inputs(reference.folder / reference.name_request(case))
        outputs = read_answers(reference.folder, case)
        limits = {row.output: _list_limits(row) for row in found if row.atol is not None}
        arrays = {f"{case}/inputs/{name}": array for name, array in inputs.items()}
        arrays |= {f"{case}/outputs/{name}": array for name, array in outputs.items()}
        arrays |= {f"{case}/limits/{name}": limit for name, limit in limits.items()}
        if len(_write(packed | arrays)) <= _MOST_BYTES:
            packed |= arrays
            count += 1
    return _write(packed) if packed else b""


def _measure_case(reference: Reference, case: str) -> int:
    names = (reference.name_request(case), f"{case}.outputs.npz")
    return sum((reference.folder / name).stat().st_size for name in names)


def _is_told(reference: Reference, case: str, rows: list[Comparison]) -> bool:
    """Return whether limits say of every output of a case when it is right."""
    return bool(rows) and not any(map(_is_excused, rows)) and not (reference.folder / f"{case}{ANSWERS}").exists()


def _is_excused(row: Comparison) -> bool:
    """Return whether labels differ from the source's and pass all the same."""
    return bool(row.ties) or (row.rtol is None and bool(row.first))


def _list_limits(row: Comparison) -> Array:
    """Return rtol, atol, and the RMS of the difference that is allowed whatever single values are."""
    rtol, atol = row.rtol or 0.0, row.atol or 0.0
    return np.array((rtol, atol, 0.0) if row.noise is None else (0.0, 0.0, atol))


def _write(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays)
    return file.getvalue()
