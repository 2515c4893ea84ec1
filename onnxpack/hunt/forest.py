"""Read the trees of an exported model as arrays, and find the values that lead a row to each split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray[Any, Any]

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
"""In the order of their numbers in TreeEnsemble (ai.onnx.ml 5); the older operators write the names."""
_NONE = -1


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees, one element each; ``true`` and ``false`` are the children's places, -1 for a leaf."""

    feature: Array
    threshold: Array
    mode: Array
    true: Array
    false: Array
    roots: Array

    @property
    def splits(self) -> Array:
        """Return the places of the nodes that compare a feature."""
        return np.flatnonzero(self.mode != _NONE)


def read_forest(node: onnx.NodeProto) -> Forest:
    """Return the trees of a TreeEnsemble node of any version of ai.onnx.ml, 1 to 5."""
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return _read_flat(found) if node.op_type == "TreeEnsemble" else _read_named(found)


def _read_named(found: dict[str, Any]) -> Forest:
    """Read the older operators, whose nodes name their tree, their number, and their children's numbers."""
    names = list(zip(found["nodes_treeids"], found["nodes_nodeids"], strict=True))
    places = {name: place for place, name in enumerate(names)}
    words = [mode.decode() for mode in found["nodes_modes"]]
    mode = np.array([MODES.index(word) if word in MODES else _NONE for word in words])
    values = found.get("nodes_values")
    threshold = np.array(numpy_helper.to_array(found["nodes_values_as_tensor"]) if values is None else values)
    children = [
        np.array([
            places.get((tree, child), _NONE) if asks != _NONE else _NONE
            for (tree, _), child, asks in zip(names, found[side], mode, strict=True)
        ])
        for side in ("nodes_truenodeids", "nodes_falsenodeids")
    ]  # fmt: skip
    true, false = children
    below = set(true.tolist()) | set(false.tolist())
    roots = np.array([place for place in range(len(names)) if place not in below])
    return Forest(np.array(found["nodes_featureids"]), threshold.astype(np.float32), mode, true, false, roots)


def _read_flat(found: dict[str, Any]) -> Forest:
    """Read TreeEnsemble, whose leaves are no nodes and whose children are places."""
    modes = numpy_helper.to_array(found["nodes_modes"]).astype(int)
    sides = []
    for side in ("true", "false"):
        ids = np.array(found[f"nodes_{side}nodeids"])
        sides.append(np.where(np.array(found[f"nodes_{side}leafs"]) == 1, _NONE, ids))
    threshold = numpy_helper.to_array(found["nodes_splits"]).astype(np.float32)
    mode = np.where(modes < len(MODES), modes, _NONE)  # a set's members are no threshold
    return Forest(
        np.array(found["nodes_featureids"]), threshold, mode, sides[0], sides[1], np.array(found["tree_roots"])
    )


def find_paths(forest: Forest, features: int) -> tuple[Array, Array]:
    """Return the least and greatest value of each feature on the way to each node, two float32 [nodes, features].

    A node that no row reaches has a least value above the greatest. Conditions that ask for one value, or for any
    other, are kept on the side that asks for it.
    """
    low = np.full((len(forest.mode), features), -np.inf, np.float32)
    high = np.full_like(low, np.inf)
    at = forest.roots
    # Level by level, so that each step is one operation on whole arrays.
    while at.size:
        at = at[forest.mode[at] != _NONE]
        following = []
        for children, holds in ((forest.true, True), (forest.false, False)):
            # Two trees may share a node, and two sides of a node one child: the first way to it is enough.
            inner = children[at] != _NONE
            parents, reached = at[inner], children[at][inner]
            low[reached], high[reached] = low[parents], high[parents]
            least, most = find_bounds(forest, parents, holds)
            feature = forest.feature[parents]
            low[reached, feature] = np.maximum(low[reached, feature], least)
            high[reached, feature] = np.minimum(high[reached, feature], most)
            following.append(reached)
        at = np.concatenate(following)
    return low, high


def find_bounds(forest: Forest, nodes: Array, holds: bool) -> tuple[Array, Array]:
    """Return the least and greatest float32 for which the condition of each node holds, or does not."""
    value = forest.threshold[nodes]
    below, above = np.nextafter(value, np.float32(-np.inf)), np.nextafter(value, np.float32(np.inf))
    everything = np.full_like(value, np.inf)
    left = {0: (-everything, value), 1: (-everything, below), 2: (value, everything), 3: (above, everything),
            4: (value, value), 5: (-everything, everything)}  # fmt: skip
    # The side of a condition that does not hold is the opposite condition.
    opposite = {0: 3, 1: 2, 2: 1, 3: 0, 4: 5, 5: 4}
    least, most = np.empty_like(value), np.empty_like(value)
    for mode in left:
        chosen = forest.mode[nodes] == mode
        first, last = left[mode if holds else opposite[mode]]
        least[chosen], most[chosen] = first[chosen], last[chosen]
    return least, most
