"""The operation nms: the best boxes of a detector, those that overlap better ones of their class left out.

ONNX's NonMaxSuppression gives a list over all rows of a batch. Here each row gets a fixed number of places, best first,
so that a client and a batch can use them: boxes, scores, classes (or their labels), and how many places are filled.
"""

import numpy as np

from onnxpack.core.errors import SourceError
from onnxpack.core.values import TensorInfo
from onnxpack.spec.output_names import list_step_outputs
from onnxpack.spec.steps import NMS_OPSET, PostprocessStep
from onnxpack.transforms.operations import Array, Builder, Labels, Operation, PostStage, make_refusal, require_floats

_COUNT = 100
"""The places of a row, where the step says nothing."""
_IOU = 0.5
_RANK = 3  # of boxes [batch, boxes, 4] and of scores
_AXES_INPUT_OPSET = 13
"""From here on the axes are an input of ReduceSum and Unsqueeze."""


def _plan(step: PostprocessStep, taken: tuple[TensorInfo, ...], labels: Labels) -> PostStage:
    boxes, scores = taken
    for info in taken:
        require_floats(step, info)
        if len(info.shape) != _RANK:
            raise make_refusal(step, f"needs {_RANK} dimensions, and '{info.name}' has {len(info.shape)}")
    if boxes.shape[2] != 4:
        raise make_refusal(step, f"needs boxes of 4 numbers, and '{boxes.name}' has {boxes.shape[2]}")
    axis = _find_classes(step, boxes, scores)
    classes = scores.shape[axis]
    if labels and isinstance(classes, int) and len(labels) != classes:
        raise make_refusal(step, f"has {len(labels)} labels, and '{scores.name}' has {classes} classes")
    names, rows, count = list_step_outputs(step), boxes.shape[0], step.k or _COUNT
    given = (
        TensorInfo(names[0], boxes.dtype, (rows, count, 4)),
        TensorInfo(names[1], scores.dtype, (rows, count)),
        TensorInfo(names[2], "string" if labels else "int64", (rows, count)),
        TensorInfo(names[3], "int64", (rows,)),
    )
    return PostStage(step, taken, given, axis, labels)


def _find_classes(step: PostprocessStep, boxes: TensorInfo, scores: TensorInfo) -> int:
    """Return the axis of the classes in the scores: the one that is not as long as the boxes are many."""
    if step.axis is not None:
        axis = step.axis % _RANK if -_RANK <= step.axis < _RANK else 0
        if axis == 0:
            raise make_refusal(step, f"cannot have its classes along axis {step.axis}", "set `axis` to 1 or 2")
        return axis
    fitting = [axis for axis in (1, 2) if scores.shape[axis] == boxes.shape[1]]
    if len(fitting) == 1:
        return _RANK - fitting[0]
    shape = f"[{', '.join(map(str, scores.shape))}]"
    if fitting:
        hint = "say which axis of the scores the classes are along: `axis: 1` or `axis: 2`"
        raise make_refusal(step, f"finds classes and boxes equally many in '{scores.name}' {shape}", hint)
    raise make_refusal(step, f"has {boxes.shape[1]} boxes, and '{scores.name}' is {shape}", "name the boxes' scores")


def _compute(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    boxes, scores = arrays
    count = stage.step.k or _COUNT
    # The operator knows float32 alone, so that is what is compared.
    ranked = np.moveaxis(scores, stage.axis, 1).astype(np.float32)
    found = (
        np.zeros((len(boxes), count, 4), boxes.dtype),
        np.zeros((len(boxes), count), scores.dtype),
        np.full((len(boxes), count), -1, np.int64),
        np.zeros(len(boxes), np.int64),
    )
    for row, (places, values) in enumerate(zip(boxes, ranked, strict=True)):
        kept = np.full(values.shape, -np.inf, np.float32)
        edges = _find_edges(stage, places.astype(np.float32).astype(np.float64))
        for number, of_class in enumerate(values):
            best = _suppress(stage, edges, of_class)
            kept[number, best] = of_class[best]
        order = np.argsort(-kept.ravel(), kind="stable")[:count]
        order = order[kept.ravel()[order] > -np.inf]
        filled = len(order)
        if filled:
            found[0][row, :filled] = places[order % kept.shape[1]]
            found[1][row, :filled] = kept.ravel()[order]
            found[2][row, :filled] = order // kept.shape[1]
        found[3][row] = filled
    if stage.labels:
        return (*found[:2], np.array(("", *stage.labels))[found[2] + 1], found[3])
    return found


def _find_edges(stage: PostStage, boxes: Array) -> Array:
    """Return each box as its least and greatest coordinates: [boxes, 2, 2]."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if stage.step.boxes == "centre":
        return np.stack([first - second / 2, first + second / 2], axis=1)
    return np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _suppress(stage: PostStage, edges: Array, scores: Array) -> list[int]:
    """Return the places of one class' boxes that are kept, best first."""
    good = np.flatnonzero(scores > np.float32(stage.step.score or 0))
    most = stage.step.per_class or stage.step.k or _COUNT
    kept: list[int] = []
    # Each box is compared with the few that are kept, and not each of these with the thousands that are left.
    for place in good[np.argsort(-scores[good], kind="stable")].tolist():
        if len(kept) == most:
            break
        if not kept or not _overlaps(stage, edges[place], edges[kept]).any():
            kept.append(place)
    return kept


def _overlaps(stage: PostStage, box: Array, others: Array) -> Array:
    """Return which of other boxes share more than the allowed part of their area with a box."""
    shared = np.minimum(box[1], others[:, 1]) - np.maximum(box[0], others[:, 0])
    meets = (shared > 0).all(axis=1)
    common = np.where(meets, shared.prod(axis=1), 0.0)
    joined = (box[1] - box[0]).prod() + (others[:, 1] - others[:, 0]).prod(axis=1) - common
    with np.errstate(all="ignore"):  # an empty box meets none
        part = (common / joined).astype(np.float32)
    return np.asarray(meets & (part > _choose_iou(stage)))


def _choose_iou(stage: PostStage) -> np.float32:
    return np.float32(_IOU if stage.step.iou is None else stage.step.iou)


def _express(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
    if nodes.opset < NMS_OPSET:
        hint = f"set `opset: {NMS_OPSET}` or higher, or convert the model to it"
        raise SourceError(f"nms needs opset {NMS_OPSET}, and the model has {nodes.opset}", hint)
    boxes, scores = (nodes.add_cast(x, "float32", info.dtype) for x, info in zip(tensors, stage.taken, strict=True))
    if stage.axis == 2:
        scores = nodes.add_node("Transpose", [scores], perm=[0, 2, 1])
    values, places = _add_ranking(stage, nodes, boxes, scores)
    filled = nodes.add_node("Greater", [values, nodes.add_constant(np.array(-np.inf, np.float32), "none")])
    size = _add_size(nodes, boxes, 1)
    # No box at all would end the process by a division by zero.
    one = nodes.add_constant(np.array([1], np.int64), "one")
    none = nodes.add_node("Equal", [size, nodes.add_constant(np.array([0], np.int64), "zero")])
    classes = nodes.add_node("Div", [places, nodes.add_node("Where", [none, one, size])])
    numbers = nodes.add_node("Sub", [places, nodes.add_node("Mul", [classes, size])])
    empty = nodes.add_constant(np.array(-1, np.int64), "empty")
    classes = nodes.add_node("Where", [filled, classes, empty])
    zero = nodes.add_constant(np.array(0, np.float32), "no_score")
    found = nodes.add_node("Where", [filled, values, zero])
    return [
        _add_boxes(stage, nodes, tensors[0], nodes.add_node("Where", [filled, numbers, size])),
        nodes.add_cast(found, stage.given[1].dtype, "float32"),
        _add_words(stage, nodes, classes) if stage.labels else classes,
        _add_axes_node(nodes, "ReduceSum", nodes.add_cast(filled, "int64"), 1, keepdims=0),
    ]


def _add_ranking(stage: PostStage, nodes: Builder, boxes: str, scores: str) -> tuple[str, str]:
    """Add nodes that give each row's best scores, -inf behind the last, and their places among classes · boxes."""
    count = stage.step.k or _COUNT
    limits = [
        nodes.add_constant(np.array([stage.step.per_class or count], np.int64), "per_class"),
        nodes.add_constant(np.array([_choose_iou(stage)]), "iou"),
        nodes.add_constant(np.array([stage.step.score or 0], np.float32), "score"),
    ]
    centre = int(stage.step.boxes == "centre")
    selected = nodes.add_node("NonMaxSuppression", [boxes, scores, *limits], center_point_box=centre)
    none = _add_filled(nodes, nodes.add_node("Shape", [scores]))
    kept = nodes.add_node("ScatterND", [none, selected, nodes.add_node("GatherND", [scores, selected])])
    # There may be fewer boxes than places.
    places = nodes.add_constant(np.array([count], np.int64), "count")
    more = _add_filled(nodes, nodes.add_node("Concat", [_add_size(nodes, boxes, 0), places], axis=0))
    whole = nodes.add_node("Concat", [nodes.add_node("Flatten", [kept], axis=1), more], axis=1)
    values, indices = nodes.add_nodes("TopK", [whole, places], 2, axis=1)
    return values, indices


def _add_boxes(stage: PostStage, nodes: Builder, boxes: str, numbers: str) -> str:
    """Add nodes that take each row's boxes by their numbers; that behind the last box stands for an empty one."""
    wide = nodes.add_constant(np.array([1, 4], np.int64), "box")
    shape = nodes.add_node("Concat", [_add_size(nodes, boxes, 0), wide], axis=0)
    empty = nodes.add_constant(np.zeros(1, stage.source.dtype), "empty_box")
    padded = nodes.add_node("Concat", [boxes, nodes.add_node("Expand", [empty, shape])], axis=1)
    each = _add_axes_node(nodes, "Unsqueeze", numbers, 2)
    return nodes.add_node("GatherElements", [padded, nodes.add_node("Concat", [each] * 4, axis=2)], axis=1)


def _add_words(stage: PostStage, nodes: Builder, classes: str) -> str:
    one = nodes.add_constant(np.array(1, np.int64), "next")
    words = nodes.add_constant(np.array(("", *stage.labels), object), "labels")
    return nodes.add_node("Gather", [words, nodes.add_node("Add", [classes, one])], axis=0)


def _add_filled(nodes: Builder, shape: str) -> str:
    """Add a tensor of a shape that is full of -inf."""
    least = nodes.add_constant(np.array([-np.inf], np.float32), "least")
    return nodes.add_node("Expand", [least, shape])


def _add_size(nodes: Builder, x: str, axis: int) -> str:
    """Add the size of one axis, as a tensor of one element."""
    return nodes.add_node(
        "Gather", [nodes.add_node("Shape", [x]), nodes.add_constant(np.array([axis], np.int64), "axis")]
    )


def _add_axes_node(nodes: Builder, op: str, x: str, axis: int, **attributes: int) -> str:
    """Add a node whose axes are an input or an attribute, by the opset."""
    if nodes.opset < _AXES_INPUT_OPSET:
        return nodes.add_node(op, [x], axes=[axis], **attributes)
    return nodes.add_node(op, [x, nodes.add_constant(np.array([axis], np.int64), "axes")], **attributes)


OPERATIONS = {"nms": Operation(_plan, _compute, _express)}
