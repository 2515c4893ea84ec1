"""Functions of this package that open foreign files, called in a child process."""

import tempfile
from pathlib import Path
from typing import Any

from onnxpack.child import call


def in_child(function: str, **request: Any) -> Any:
    """The result of ``module:name`` below ``onnxpack.look``.

    Raises:
        OnnxpackError: the one that the function raised, or the child's death.
    """
    with tempfile.TemporaryDirectory(prefix="onnxpack-look-") as scratch:
        return call(f"onnxpack.look.{function}", request, Path(scratch))


def onnx_facts(path: Path) -> dict[str, Any]:
    """As ``onnxpack.look.graph.onnx_facts``."""
    facts: dict[str, Any] = in_child("graph:onnx_facts", path=str(path))
    return facts
