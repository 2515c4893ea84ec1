"""Faults in the operators of ai.onnx.ml, that estimators are exported to: trees, linear models, encoders, texts."""

from typing import Any

import numpy as np
import onnx
from mutant import PER_CENT, Faults, Mutant, NoPlaceError, find_attribute, find_attributes

CLASSIC = Faults()

_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_WEIGHTS = ("class_weights", "target_weights")
_NAMES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings", "cats_strings")
_TEXTS = {
    "StringNormalizer": "case_change_action",
    "Tokenizer": "mincharnum",
    "Normalizer": "norm",
    "TfIdfVectorizer": "pool_strings",
}
Tree = dict[str, onnx.AttributeProto]


def _pick_tree(mutant: Mutant) -> Tree:
    node = mutant.pick(mutant.find_nodes(*_TREES))
    return {found.name: found for found in node.attribute}


def _pick_split(mutant: Mutant) -> tuple[Tree, int]:
    tree = _pick_tree(mutant)
    modes = tree["nodes_modes"].strings
    return tree, mutant.pick([place for place, mode in enumerate(modes) if mode != b"LEAF"])


@CLASSIC.add("A threshold is the next float32, or the one before")
def nudge_threshold(mutant: Mutant) -> str:
    """Move a threshold by the least step, up or down."""
    tree, place = _pick_split(mutant)
    values = tree["nodes_values"].floats
    towards = np.float32(np.inf if mutant.generator.random() < 0.5 else -np.inf)
    values[place] = np.nextafter(np.float32(values[place]), towards)
    return f"node {place}"


@CLASSIC.add("A threshold is off by 1 %")
def scale_threshold(mutant: Mutant) -> str:
    """Multiply a threshold by 1.01."""
    tree, place = _pick_split(mutant)
    if tree["nodes_values"].floats[place] == 0:
        raise NoPlaceError
    tree["nodes_values"].floats[place] *= PER_CENT
    return f"node {place}"


@CLASSIC.add("What equals a threshold goes to the other side")
def redirect_equal(mutant: Mutant) -> str:
    """Exchange "less" and "less or equal" in a split."""
    tree, place = _pick_split(mutant)
    modes = tree["nodes_modes"].strings
    modes[place] = {b"BRANCH_LEQ": b"BRANCH_LT", b"BRANCH_LT": b"BRANCH_LEQ"}[modes[place]]
    return f"node {place}"


@CLASSIC.add("The two sides of a split are exchanged")
def exchange_children(mutant: Mutant) -> str:
    """Exchange the subtrees below a split."""
    tree, place = _pick_split(mutant)
    left, right = tree["nodes_truenodeids"].ints, tree["nodes_falsenodeids"].ints
    left[place], right[place] = right[place], left[place]
    return f"node {place}"


@CLASSIC.add("A split looks at another feature")
def change_feature(mutant: Mutant) -> str:
    """Let a split look at the next feature."""
    tree, place = _pick_split(mutant)
    features = tree["nodes_featureids"].ints
    features[place] = (features[place] + 1) % (max(features) + 1)
    return f"node {place}"


@CLASSIC.add("Two leaves have each other's value")
def exchange_leaves(mutant: Mutant) -> str:
    """Exchange the values of two leaves."""
    values = _pick_leaves(mutant)
    one, other = mutant.exchange(values)
    if values[one] == values[other]:
        raise NoPlaceError
    return f"leaves {one} and {other}"


@CLASSIC.add("A leaf's value is off by 1 %")
def scale_leaf(mutant: Mutant) -> str:
    """Multiply the value of a leaf by 1.01."""
    values = _pick_leaves(mutant)
    place = mutant.pick_nonzero(values)
    values[place] *= PER_CENT
    return f"leaf {place}"


@CLASSIC.add("A leaf's value is 0")
def drop_leaf(mutant: Mutant) -> str:
    """Set the value of a leaf to 0."""
    values = _pick_leaves(mutant)
    place = mutant.pick_nonzero(values)
    values[place] = 0
    return f"leaf {place}"


def _pick_leaves(mutant: Mutant) -> Any:
    """Return the values of all leaves of an ensemble."""
    tree = _pick_tree(mutant)
    return next(tree[name].floats for name in _WEIGHTS if name in tree)


@CLASSIC.add("The value that all trees start from is left out, or the intercepts of a linear model")
def drop_base(mutant: Mutant) -> str:
    """Remove what is added to every answer."""
    node, base = mutant.pick(
        find_attributes(mutant.find_nodes(*_TREES, "LinearClassifier"), "base_values", "intercepts")
    )
    node.attribute.remove(base)
    return f"{base.name} of {node.op_type}"


@CLASSIC.add("The coefficients of one class are off by 1 %, or one of them is 0")
def spoil_coefficients(mutant: Mutant) -> str:
    """Set one coefficient to 0, or multiply those of one class by 1.01."""
    node = mutant.pick(mutant.find_nodes("LinearClassifier", "LinearRegressor"))
    coefficients, classes = find_attribute(node, "coefficients"), find_attribute(node, "intercepts")
    if coefficients is None or classes is None:
        raise NoPlaceError
    values = coefficients.floats
    if mutant.generator.random() < 0.5:
        place = mutant.pick_nonzero(values)
        values[place] = 0
        return f"coefficient {place} is 0"
    size = len(values) // len(classes.floats)
    start = size * mutant.pick(range(len(classes.floats)))
    for place in range(start, start + size):
        values[place] *= PER_CENT
    return f"coefficients {start} to {start + size - 1}"


@CLASSIC.add("Scores become probabilities in another way")
def change_post_transform(mutant: Mutant) -> str:
    """Give a classifier another function from scores to probabilities."""
    _, changed = mutant.pick(find_attributes(mutant.find_nodes(*_TREES, "LinearClassifier"), "post_transform"))
    changed.s = mutant.pick([word for word in (b"NONE", b"SOFTMAX", b"LOGISTIC") if word != changed.s])
    return str(changed.s.decode())


@CLASSIC.add("Two classes, or two categories of an encoder, have each other's name")
def exchange_labels(mutant: Mutant) -> str:
    """Exchange two labels of a classifier, or two categories."""
    _, changed = mutant.pick(find_attributes(mutant.model.graph.node, *_NAMES))
    one, other = mutant.exchange(changed.ints or changed.strings)
    return f"{changed.name} {one} and {other}"


@CLASSIC.add("Texts are cut or written in another way, or words change places")
def change_text(mutant: Mutant) -> str:
    """Change what an operator on texts, or the normaliser behind one, is told."""
    node = mutant.pick(mutant.find_nodes(*_TEXTS))
    changed = find_attribute(node, _TEXTS[node.op_type])
    assert changed is not None
    if node.op_type == "TfIdfVectorizer":
        words = changed.strings
        one, other = mutant.exchange(words)
        return f"{words[other].decode()} and {words[one].decode()} in TfIdfVectorizer"
    if node.op_type == "StringNormalizer":
        changed.s = b"NONE"
    elif node.op_type == "Tokenizer":
        changed.i += int(mutant.generator.integers(1, 4))
    else:
        changed.s = mutant.pick([word for word in (b"L1", b"L2", b"MAX") if word != changed.s])
    return f"{changed.name} of {node.op_type}"
