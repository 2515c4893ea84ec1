"""Faults in the operators of ai.onnx.ml, that estimators are exported to: trees, linear models, encoders, texts."""

from typing import Any

import numpy as np
import onnx
from faults import Fault, attribute, nodes, pick
from numpy.random import Generator

_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_WEIGHTS = ("class_weights", "target_weights")


def _tree(model: onnx.ModelProto, generator: Generator) -> dict[str, Any] | None:
    node = pick(nodes(model, *_TREES), generator)
    return {found.name: found for found in node.attribute} if node is not None else None


def _split(tree: dict[str, Any], generator: Generator) -> int:
    modes = tree["nodes_modes"].strings
    return int(pick([place for place, mode in enumerate(modes) if mode != b"LEAF"], generator))


def threshold_neighbour(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A threshold is the next float32, or the one before."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    place, values = _split(tree, generator), tree["nodes_values"].floats
    towards = np.float32(np.inf if generator.random() < 0.5 else -np.inf)
    values[place] = np.nextafter(np.float32(values[place]), towards)
    return f"node {place}"


def threshold_off(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A threshold is off by 1 %."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    place = _split(tree, generator)
    if tree["nodes_values"].floats[place] == 0:
        return None
    tree["nodes_values"].floats[place] *= 1.01
    return f"node {place}"


def equal_goes_elsewhere(model: onnx.ModelProto, generator: Generator) -> str | None:
    """What equals a threshold goes to the other side."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    place, modes = _split(tree, generator), tree["nodes_modes"].strings
    modes[place] = {b"BRANCH_LEQ": b"BRANCH_LT", b"BRANCH_LT": b"BRANCH_LEQ"}[modes[place]]
    return f"node {place}"


def children_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The two sides of a split are exchanged."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    place = _split(tree, generator)
    left, right = tree["nodes_truenodeids"].ints, tree["nodes_falsenodeids"].ints
    left[place], right[place] = right[place], left[place]
    return f"node {place}"


def feature_other(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A split looks at another feature."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    place, features = _split(tree, generator), tree["nodes_featureids"].ints
    features[place] = (features[place] + 1) % (max(features) + 1)
    return f"node {place}"


def _leaves(tree: dict[str, Any]) -> Any:
    return next(tree[name].floats for name in _WEIGHTS if name in tree)


def leaves_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Two leaves have each other's value."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    values = _leaves(tree)
    one, other = (int(place) for place in generator.choice(len(values), 2, replace=False))
    if values[one] == values[other]:
        return None
    values[one], values[other] = values[other], values[one]
    return f"leaves {one} and {other}"


def leaf_off(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A leaf's value is off by 1 %."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    values = _leaves(tree)
    place = int(generator.integers(0, len(values)))
    if values[place] == 0:
        return None
    values[place] *= 1.01
    return f"leaf {place}"


def leaf_lost(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A leaf's value is 0."""
    tree = _tree(model, generator)
    if tree is None:
        return None
    values = _leaves(tree)
    place = int(generator.integers(0, len(values)))
    if values[place] == 0:
        return None
    values[place] = 0
    return f"leaf {place}"


def base_lost(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The value that all trees start from is left out, or the intercepts of a linear model."""
    found = [(node, base) for node in nodes(model, *_TREES, "LinearClassifier")
             for name in ("base_values", "intercepts") if (base := attribute(node, name)) is not None]  # fmt: skip
    place = pick(found, generator)
    if place is None:
        return None
    node, base = place
    node.attribute.remove(base)
    return f"{base.name} of {node.op_type}"


def coefficient_off(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The coefficients of one class are off by 1 %, or one of them is 0."""
    node = pick(nodes(model, "LinearClassifier", "LinearRegressor"), generator)
    if node is None:
        return None
    values, classes = attribute(node, "coefficients"), attribute(node, "intercepts")
    if values is None or classes is None:
        return None
    if generator.random() < 0.5:
        place = int(generator.integers(0, len(values.floats)))
        if values.floats[place] == 0:
            return None
        values.floats[place] = 0
        return f"coefficient {place} is 0"
    size = len(values.floats) // len(classes.floats)
    start = size * int(generator.integers(0, len(classes.floats)))
    for place in range(start, start + size):
        values.floats[place] *= 1.01
    return f"coefficients {start} to {start + size - 1}"


def post_transform_other(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Scores become probabilities in another way."""
    found = [changed for node in nodes(model, *_TREES, "LinearClassifier")
             if (changed := attribute(node, "post_transform")) is not None]  # fmt: skip
    changed = pick(found, generator)
    if changed is None:
        return None
    changed.s = pick([word for word in (b"NONE", b"SOFTMAX", b"LOGISTIC") if word != changed.s], generator)
    return str(changed.s.decode())


def labels_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Two classes, or two categories of an encoder, have each other's name."""
    names = ("classlabels_int64s", "classlabels_ints", "classlabels_strings", "cats_strings")
    found = [changed for node in model.graph.node for name in names
             if (changed := attribute(node, name)) is not None]  # fmt: skip
    changed = pick(found, generator)
    if changed is None:
        return None
    values = changed.ints if len(changed.ints) else changed.strings
    one, other = (int(place) for place in generator.choice(len(values), 2, replace=False))
    values[one], values[other] = values[other], values[one]
    return f"{changed.name} {one} and {other}"


def text_other(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Texts are cut or written in another way, or words change places."""
    node = pick(nodes(model, "StringNormalizer", "TfIdfVectorizer", "Tokenizer", "Normalizer"), generator)
    if node is None:
        return None
    if node.op_type == "StringNormalizer":
        changed = attribute(node, "case_change_action")
        assert changed is not None
        changed.s = b"NONE"
    elif node.op_type == "Tokenizer":
        changed = attribute(node, "mincharnum")
        assert changed is not None
        changed.i += int(generator.integers(1, 4))
    elif node.op_type == "Normalizer":
        changed = attribute(node, "norm")
        assert changed is not None
        changed.s = pick([word for word in (b"L1", b"L2", b"MAX") if word != changed.s], generator)
    else:
        changed = attribute(node, "pool_strings")
        assert changed is not None
        one, other = (int(place) for place in generator.choice(len(changed.strings), 2, replace=False))
        words = changed.strings
        words[one], words[other] = words[other], words[one]
        return f"{words[other].decode()} and {words[one].decode()} in TfIdfVectorizer"
    return f"{changed.name} of {node.op_type}"


CLASSIC: tuple[Fault, ...] = (
    threshold_neighbour,
    threshold_off,
    equal_goes_elsewhere,
    children_exchanged,
    feature_other,
    leaves_exchanged,
    leaf_off,
    leaf_lost,
    base_lost,
    coefficient_off,
    post_transform_other,
    labels_exchanged,
    text_other,
)
