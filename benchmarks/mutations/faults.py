"""Faults that an exporter could make, planted in ONNX graphs: each changes one place, chosen by a generator.

A fault is a function from a model and a generator to words on what it changed; None where a model has no such place.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.random import Generator
from onnx import helper, numpy_helper

Fault = Callable[[onnx.ModelProto, Generator], str | None]

_PER_CENT = 1.01
_LINEAR = ("Gemm", "Conv", "MatMul")


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    """A node's attribute, to be changed in place."""
    return next((found for found in node.attribute if found.name == name), None)


def pick(places: Sequence[Any], generator: Generator) -> Any:
    """One of the places; None if there are none."""
    return places[int(generator.integers(0, len(places)))] if places else None


def tensors(model: onnx.ModelProto, least: int = 1) -> list[onnx.TensorProto]:
    """Every constant of floats with at least so many elements."""
    found = [*model.graph.initializer]
    for node in model.graph.node:
        value = attribute(node, "value")
        if node.op_type == "Constant" and value is not None and value.type == onnx.AttributeProto.TENSOR:
            found.append(value.t)
    return [
        tensor for tensor in found if tensor.data_type == onnx.TensorProto.FLOAT and int(np.prod(tensor.dims)) >= least
    ]


def rewrite(tensor: onnx.TensorProto, array: Any) -> None:
    """Give a constant another value."""
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def read(tensor: onnx.TensorProto) -> Any:
    """A constant's value, to be changed."""
    return numpy_helper.to_array(tensor).copy()


def constant_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto | None:
    """The initializer, or the value of the Constant node, of this name."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor
    for node in model.graph.node:
        value = attribute(node, "value")
        if node.op_type == "Constant" and node.output[0] == name and value is not None:
            return value.t
    return None


def nodes(model: onnx.ModelProto, *kinds: str) -> list[onnx.NodeProto]:
    """The nodes of some operators."""
    return [node for node in model.graph.node if node.op_type in kinds]


def weight(model: onnx.ModelProto, generator: Generator) -> str | None:
    """All weights of one tensor are off by 1 %."""
    tensor = pick(tensors(model, 4), generator)
    if tensor is None:
        return None
    rewrite(tensor, read(tensor) * np.float32(_PER_CENT))
    return f"all of {tensor.name}"


def weight_channel(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The weights of one channel are off by 1 %."""
    tensor = pick([found for found in tensors(model, 4) if len(found.dims) > 1], generator)
    if tensor is None:
        return None
    array = read(tensor)
    channel = int(generator.integers(0, array.shape[0]))
    array[channel] *= np.float32(_PER_CENT)
    rewrite(tensor, array)
    return f"{tensor.name}[{channel}]"


def weight_lost(model: onnx.ModelProto, generator: Generator) -> str | None:
    """One weight is 0."""
    tensor = pick([found for found in tensors(model, 4) if len(found.dims) > 1], generator)
    if tensor is None:
        return None
    array = read(tensor)
    place = int(generator.integers(0, array.size))
    if array.flat[place] == 0:
        return None
    array.flat[place] = 0
    rewrite(tensor, array)
    return f"{tensor.name}, element {place}"


def weight_transposed(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Two axes of a weight are exchanged."""
    places = [
        (tensor, first)
        for tensor in tensors(model, 4)
        for first in range(len(tensor.dims) - 1)
        if tensor.dims[first] == tensor.dims[first + 1] > 1
    ]
    place = pick(places, generator)
    if place is None:
        return None
    tensor, first = place
    rewrite(tensor, np.swapaxes(read(tensor), first, first + 1))
    return f"axes {first} and {first + 1} of {tensor.name}"


def weights_rounded(model: onnx.ModelProto, generator: Generator) -> str | None:
    """One tensor went through fewer bits: bfloat16 kept 8 of them."""
    tensor = pick(tensors(model, 4), generator)
    if tensor is None:
        return None
    bits = read(tensor).view(np.uint32) & np.uint32(0xFFFF0000)
    rewrite(tensor, bits.view(np.float32))
    return tensor.name


def biases(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """What is added to the result of a product."""
    made = {node.output[0] for node in nodes(model, *_LINEAR)}
    names = [node.input[2] for node in nodes(model, "Gemm", "Conv") if len(node.input) > 2]
    names += [name for node in nodes(model, "Add") if set(node.input) & made for name in node.input]
    found = [constant_of(model, name) for name in names]
    return [tensor for tensor in found if tensor is not None and read(tensor).any()]


def bias_dropped(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A layer lost its bias."""
    tensor = pick(biases(model), generator)
    if tensor is None:
        return None
    rewrite(tensor, read(tensor) * 0)
    return tensor.name


def bias_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The biases of two channels are exchanged."""
    tensor = pick([found for found in biases(model) if int(np.prod(found.dims)) > 1], generator)
    if tensor is None:
        return None
    array = read(tensor)
    one, other = generator.choice(array.size, 2, replace=False)
    array.flat[[one, other]] = array.flat[[other, one]]
    rewrite(tensor, array)
    return f"{tensor.name}[{one}] and [{other}]"


def axis_changed(model: onnx.ModelProto, generator: Generator) -> str | None:
    """An operator works along another axis."""
    found = [
        (node, found)
        for node in model.graph.node
        for name in ("axis", "axes", "perm")
        if (found := attribute(node, name)) is not None
    ]
    place = pick(found, generator)
    if place is None:
        return None
    node, changed = place
    if changed.name == "perm":
        order = list(changed.ints)
        one = int(generator.integers(0, len(order) - 1))
        order[one], order[one + 1] = order[one + 1], order[one]
        changed.ints[:] = order
    elif changed.name == "axes":
        changed.ints[0] += 1 if changed.ints[0] in (0, -2) else -1
    else:
        changed.i += 1 if changed.i in (0, -2) else -1
    return f"{changed.name} of {node.op_type} '{node.name}'"


def pad_moved(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The padding of a convolution or pooling begins one element earlier."""
    found = [(node, pads) for node in nodes(model, "Conv", "MaxPool", "AveragePool", "Pad")
             if (pads := attribute(node, "pads")) is not None and len(pads.ints) > 1 and pads.ints[-1] > 0]  # fmt: skip
    place = pick(found, generator)
    if place is None:
        return None
    node, pads = place
    half = len(pads.ints) // 2
    axis = int(generator.integers(0, half))
    pads.ints[axis] += 1
    pads.ints[half + axis] -= 1
    return f"{node.op_type} '{node.name}', axis {axis}"


def epsilon(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A normalisation's epsilon is another framework's default."""
    found = [(node, eps) for node in model.graph.node if (eps := attribute(node, "epsilon")) is not None]
    place = pick(found, generator)
    if place is None:
        return None
    node, eps = place
    before = eps.f
    eps.f = float(generator.choice([value for value in (1e-3, 1e-5, 1e-12) if not np.isclose(value, before, 0.1, 0)]))
    return f"{before:.0e} is {eps.f:.0e} in '{node.name}'"


def normalization_dropped(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A normalisation is left out."""
    node = pick(nodes(model, "LayerNormalization", "BatchNormalization", "Normalizer", "Scaler"), generator)
    if node is None:
        return None
    name = f"{node.op_type} '{node.name}'"
    identity(node)
    return name


def identity(node: onnx.NodeProto) -> None:
    """Let a node pass its first input on."""
    del node.input[1:], node.attribute[:]
    node.op_type, node.domain = "Identity", ""


def activation_dropped(model: onnx.ModelProto, generator: Generator) -> str | None:
    """An activation is left out."""
    node = pick(nodes(model, "Relu", "Tanh", "Sigmoid", "Abs", "Softmax", "LogSoftmax"), generator)
    if node is None:
        return None
    name = f"{node.op_type} '{node.name or node.output[0]}'"
    identity(node)
    return name


def activation_other(model: onnx.ModelProto, generator: Generator) -> str | None:
    """An activation is one that looks alike."""
    node = pick(nodes(model, "Relu", "Sigmoid", "Tanh", "Softmax"), generator)
    if node is None:
        return None
    name = node.output[0]
    changed = {"Relu": "LeakyRelu", "Sigmoid": "HardSigmoid", "Tanh": "Softsign", "Softmax": "LogSoftmax"}
    node.op_type = changed[node.op_type]
    return f"{node.op_type} gives '{name}'"


def activation_added(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A Relu stands behind a layer that has none."""
    floats = {node.output[0] for node in nodes(model, *_LINEAR, "Add", "LayerNormalization")}
    users = {name for node in nodes(model, "Relu") for name in node.input}
    name = pick(sorted(floats - users - {value.name for value in model.graph.output}), generator)
    if name is None:
        return None
    insert(model, name, "Relu")
    return f"behind '{name}'"


def insert(model: onnx.ModelProto, name: str, kind: str, constants: Sequence[str] = ()) -> None:
    """Put a node between a value and all that use it."""
    new = f"{name}__{kind}"
    for node in model.graph.node:
        node.input[:] = [new if used == name else used for used in node.input]
    place = next((index + 1 for index, node in enumerate(model.graph.node) if name in node.output), 0)
    model.graph.node.insert(place, helper.make_node(kind, [name, *constants], [new], name=new))


def input_saturates(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A branch for large inputs is frozen: what a trace without them leaves of `if x.max() > …`."""
    value = pick([found for found in model.graph.input if found.type.tensor_type.elem_type == 1], generator)
    if value is None or not any(value.name in node.input for node in model.graph.node):
        return None
    share = float(generator.choice([0.9, 0.99]))
    high = _HIGH.get(value.name, 4.0)
    model.graph.initializer.append(numpy_helper.from_array(np.array(share * high, np.float32), "frozen"))
    insert(model, value.name, "Min", ["frozen"])
    return f"'{value.name}' ends at {share:g} of its range"


_HIGH: dict[str, float] = {}
"""Where the declared ranges of the inputs end; set for each model by the script that runs this."""


def set_ranges(highest: dict[str, float]) -> None:
    """Tell where the inputs of the next models end."""
    _HIGH.clear()
    _HIGH.update(highest)


def outputs_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """Two outputs have each other's name."""
    names = [output.name for output in model.graph.output]
    if len(names) < 2:
        return None
    one, other = sorted(generator.choice(len(names), 2, replace=False))
    swap = {names[one]: names[other], names[other]: names[one]}
    for node in model.graph.node:
        node.output[:] = [swap.get(name, name) for name in node.output]
        node.input[:] = [swap.get(name, name) for name in node.input]
    return f"'{names[one]}' and '{names[other]}'"


def channels_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The last layer's answers are in another order."""
    layers = [node for node in nodes(model, "Gemm") if constant_of(model, node.input[1]) is not None]
    if not layers:
        return None
    tensor = constant_of(model, layers[-1].input[1])
    assert tensor is not None
    array = read(tensor)
    if array.shape[0] < 2:
        return None
    one, other = generator.choice(array.shape[0], 2, replace=False)
    array[[one, other]] = array[[other, one]]
    rewrite(tensor, array)
    return f"rows {one} and {other} of {tensor.name}"


def constant_off(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A constant of the arithmetic is off by 1 %: a mean, a deviation, a scale."""
    found = [tensor for node in nodes(model, "Mul", "Div", "Add", "Sub") for name in node.input
             if (tensor := constant_of(model, name)) is not None
             and tensor.data_type == onnx.TensorProto.FLOAT and read(tensor).any()]  # fmt: skip
    scalers = [own for node in nodes(model, "Scaler") for name in ("scale", "offset")
               if (own := attribute(node, name)) is not None]  # fmt: skip
    place = pick([*found, *scalers], generator)
    if place is None:
        return None
    if isinstance(place, onnx.TensorProto):
        rewrite(place, read(place) * np.float32(_PER_CENT))
    else:
        place.floats[int(generator.integers(0, len(place.floats)))] *= _PER_CENT
    return place.name


def rounded(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A value is rounded on its way: to tenths or hundredths."""
    floats = sorted({node.output[0] for node in nodes(model, *_LINEAR, "Relu", "Tanh", "Add", "Mul", "Softmax")})
    name = pick([name for name in floats if name not in {value.name for value in model.graph.output}], generator)
    if name is None:
        return None
    steps = float(generator.choice([10.0, 100.0]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(steps, np.float32), "steps"))
    insert(model, name, "Mul", ["steps"])
    insert(model, f"{name}__Mul", "Round")
    insert(model, f"{name}__Mul__Round", "Div", ["steps"])
    return f"'{name}' to 1/{steps:g}"


def index_off(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A slice or a gather is off by one."""
    found = [tensor for node in nodes(model, "Slice", "Gather", "ArrayFeatureExtractor") for name in node.input[1:]
             if (tensor := constant_of(model, name)) is not None
             and tensor.data_type == onnx.TensorProto.INT64]  # fmt: skip
    tensor = pick(found, generator)
    if tensor is None:
        return None
    array = read(tensor)
    place = int(generator.integers(0, array.size))
    array.flat[place] += -1 if array.flat[place] > 0 and generator.random() < 0.5 else 1
    rewrite(tensor, array)
    return f"{tensor.name}, element {place}"


def size_baked_in(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The size that the export was traced with stands where the input's own belongs."""
    shapes = nodes(model, "Shape")
    fixed = [tensor for node in nodes(model, "Reshape", "Expand")
             if (tensor := constant_of(model, node.input[1])) is not None and (read(tensor) == -1).any()]  # fmt: skip
    place = pick([*shapes, *fixed], generator)
    if place is None:
        return None
    if isinstance(place, onnx.TensorProto):
        array = read(place)
        array[array == -1] = 2
        rewrite(place, array)
        return f"the shape {place.name}"
    name = place.output[0]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    insert(model, name, "Min", ["one"])
    return f"all sizes in '{name}' are 1"


def pooling_other(model: onnx.ModelProto, generator: Generator) -> str | None:
    """A pooling takes the mean in the place of the maximum, or the reverse."""
    node = pick(nodes(model, "MaxPool", "ReduceMean", "ReduceMax", "ReduceSum"), generator)
    if node is None:
        return None
    if node.op_type == "MaxPool":
        node.op_type = "AveragePool"
        for name in ("storage_order", "dilations"):
            if (found := attribute(node, name)) is not None:
                node.attribute.remove(found)
    else:
        node.op_type = "ReduceMax" if node.op_type != "ReduceMax" else "ReduceMean"
    return f"{node.op_type} gives '{node.output[0]}'"


def operands_exchanged(model: onnx.ModelProto, generator: Generator) -> str | None:
    """The two sides of a division, subtraction or comparison are exchanged, or the parts of a concatenation."""
    node = pick(nodes(model, "Div", "Sub", "GreaterOrEqual", "Concat", "Where"), generator)
    if node is None or len(node.input) < 2 or node.input[-1] == node.input[-2]:
        return None
    node.input[-1], node.input[-2] = node.input[-2], node.input[-1]
    return f"{node.op_type} '{node.name or node.output[0]}'"


NETWORK: tuple[Fault, ...] = (
    weight,
    weight_channel,
    weight_lost,
    weight_transposed,
    weights_rounded,
    bias_dropped,
    bias_exchanged,
    axis_changed,
    pad_moved,
    epsilon,
    normalization_dropped,
    activation_dropped,
    activation_other,
    activation_added,
    input_saturates,
    outputs_exchanged,
    channels_exchanged,
    constant_off,
    rounded,
    index_off,
    size_baked_in,
    pooling_other,
    operands_exchanged,
)
