"""Find the words that a classifier of scikit-learn's kind gives its scores, in the nodes that know them."""

import onnx

_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
"""Where the operators of ai.onnx.ml that classify hold them."""
_MOST = 10_000


def find_classes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the words of a model's classes in the order of its scores.

    None are found where nodes disagree, and where they are the numbers from 0 on, which say nothing.
    """
    found = {words for node in model.graph.node if (words := _read_attributes(node))}
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        # Classifiers that are made of plain nodes pick the label of the best score out of a constant.
        table = initializers.get(node.input[0]) if node.op_type == "ArrayFeatureExtractor" else None
        if table is not None and table.string_data:
            found.add(tuple(word.decode(errors="replace") for word in table.string_data))
    words = found.pop() if len(found) == 1 else ()
    return words if len(words) <= _MOST and words != tuple(map(str, range(len(words)))) else ()


def _read_attributes(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name in _ATTRIBUTES:
            return tuple(word.decode(errors="replace") for word in attribute.strings) or tuple(map(str, attribute.ints))
    return ()
