"""One export for the table of docs/sources.md: made and compared as a build does it, in this process."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import OnnxpackError
from onnxpack.data.test_inputs import read_arrays
from onnxpack.parity.compare import Tolerance, require_parity, verify_model
from onnxpack.sources.export import export_model
from onnxpack.spec.load import load

RTOL, ATOL = 1e-3, 1e-4
Row = dict[str, Any]


def row(about: Row, make: Callable[[Path], dict[str, Any]]) -> Row:
    """The opset that was read back and the largest absolute difference, or the error with its exit status.

    ``make`` writes the model's files into a folder, and gives the spec without ``onnxpack`` and ``name``.
    """
    with tempfile.TemporaryDirectory(prefix="onnxpack-") as scratch:
        folder = Path(scratch)
        (folder / "spec.yaml").write_text(json.dumps({"onnxpack": 1, "name": "table", **make(folder)}))
        try:
            return about | _compared(folder)
        except OnnxpackError as error:
            return about | {"error": f"exit {error.exit_code}: {error.problems[0].message}"}


def _compared(folder: Path) -> Row:
    out = folder / "out"
    out.mkdir()
    exported = export_model(load(folder / "spec.yaml"), out)
    model, reference = exported.model, exported.reference
    rows = verify_model(model.path, reference, Tolerance(RTOL, ATOL))
    require_parity("the exported model differs from its source", rows)
    answers = [
        array
        for case in reference.cases
        for array in read_arrays(reference.folder / f"{case}.outputs.npz").values()
        if array.dtype.kind == "f"
    ]
    # Any export would agree with a source that answers nothing but zeros.
    assert not answers or max(float(np.abs(array).max()) for array in answers) > 100 * ATOL, "nothing but zeros"
    return {"opset_read": model.opset, "max_abs_diff": max(item.max_abs_diff for item in rows)}
