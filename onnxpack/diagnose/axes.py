"""Finds dynamic axes that became fixed: the sizes that the export was made with work, and others do not."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from onnxpack.core.values import Axis
from onnxpack.data.test_inputs import choose_tracing_sizes

NODE = re.compile(r"running (\w+) node\. Name:\s*'([^']*)'")
"""The words in which onnxruntime names a node that failed (``ExecuteKernel`` in its sequential executor)."""

Works = Callable[[dict[str, int]], bool]


def find_baked_axes(axes: tuple[Axis, ...], failing: Iterable[dict[str, int]], works: Works) -> list[str]:
    """Return a line for every axis that may not be changed alone, starting from the sizes of the export.

    ``failing`` are the sizes at which the model differs from its source. Where it differs at the tracing sizes too
    nothing was baked in: the numbers are wrong.
    """
    traced = choose_tracing_sizes(axes)
    if not axes or not works(traced):
        return []
    lines = []
    for axis in axes:
        start = traced[axis.name]
        # One step is enough: a size that was baked in works nowhere else.
        others = [size for size in (start + 1, start - 1) if axis.min <= size <= axis.max]
        if any(not works(traced | {axis.name: size}) for size in others):
            sizes = sorted({at[axis.name] for at in failing if at.get(axis.name) not in (None, start)})
            lines.append(
                f"axis '{axis.name}' is baked in: it works at {start}, the size that the export was made with, and "
                f"fails at {', '.join(map(str, sizes))}; make the code independent of this size, or fix it in the spec"
            )
    return lines


def list_stopped_nodes(reasons: Iterable[Any]) -> list[str]:
    """Return a line for every node that the runtime names as the one that failed."""
    nodes = {found.groups() for reason in reasons if (found := NODE.search(reason))}
    return [f"the {kind} node '{name}' does not run" for kind, name in sorted(nodes)]
