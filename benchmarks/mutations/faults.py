"""Faults that an exporter of networks could make: each function changes one place, and says which."""

import numpy as np
import onnx
from mutant import PER_CENT, Faults, Mutant, NoPlaceError, bypass, find_attribute, find_attributes, read, rewrite

NETWORK = Faults()

_LINEAR = ("Gemm", "Conv", "MatMul")


@NETWORK.add("All weights of one tensor are off by 1 %")
def scale_weight(mutant: Mutant) -> str:
    """Multiply a tensor by 1.01."""
    tensor = mutant.pick(mutant.find_tensors(4))
    rewrite(tensor, read(tensor) * np.float32(PER_CENT))
    return f"all of {tensor.name}"


@NETWORK.add("The weights of one channel are off by 1 %")
def scale_channel(mutant: Mutant) -> str:
    """Multiply what belongs to one index of a tensor's first axis by 1.01."""
    tensor = mutant.pick(_find_matrices(mutant))
    array = read(tensor)
    channel = mutant.pick(range(array.shape[0]))
    array[channel] *= np.float32(PER_CENT)
    rewrite(tensor, array)
    return f"{tensor.name}[{channel}]"


@NETWORK.add("One weight is 0")
def drop_weight(mutant: Mutant) -> str:
    """Set one element of a tensor to 0."""
    tensor = mutant.pick(_find_matrices(mutant))
    array = read(tensor)
    place = mutant.pick_nonzero(array.flat)
    array.flat[place] = 0
    rewrite(tensor, array)
    return f"{tensor.name}, element {place}"


def _find_matrices(mutant: Mutant) -> list[onnx.TensorProto]:
    return [tensor for tensor in mutant.find_tensors(4) if len(tensor.dims) > 1]


@NETWORK.add("Two axes of a weight are exchanged")
def transpose_weight(mutant: Mutant) -> str:
    """Exchange two neighbouring axes of one size."""
    places = [
        (tensor, first)
        for tensor in mutant.find_tensors(4)
        for first in range(len(tensor.dims) - 1)
        if tensor.dims[first] == tensor.dims[first + 1] > 1
    ]
    tensor, first = mutant.pick(places)
    rewrite(tensor, np.swapaxes(read(tensor), first, first + 1))
    return f"axes {first} and {first + 1} of {tensor.name}"


@NETWORK.add("One tensor went through fewer bits: bfloat16 kept 8 of them")
def round_weights(mutant: Mutant) -> str:
    """Cut the elements of a tensor to bfloat16."""
    tensor = mutant.pick(mutant.find_tensors(4))
    bits = read(tensor).view(np.uint32) & np.uint32(0xFFFF0000)
    rewrite(tensor, bits.view(np.float32))
    return tensor.name


@NETWORK.add("A layer lost its bias")
def drop_bias(mutant: Mutant) -> str:
    """Set a bias to 0."""
    tensor = mutant.pick(_find_biases(mutant))
    rewrite(tensor, read(tensor) * 0)
    return tensor.name


@NETWORK.add("The biases of two channels are exchanged")
def exchange_biases(mutant: Mutant) -> str:
    """Exchange two elements of a bias."""
    tensor = mutant.pick([found for found in _find_biases(mutant) if int(np.prod(found.dims)) > 1])
    array = read(tensor)
    one, other = mutant.exchange(array.flat)
    rewrite(tensor, array)
    return f"{tensor.name}[{one}] and [{other}]"


def _find_biases(mutant: Mutant) -> list[onnx.TensorProto]:
    """Return what is added to the result of a product."""
    made = {node.output[0] for node in mutant.find_nodes(*_LINEAR)}
    names = [node.input[2] for node in mutant.find_nodes("Gemm", "Conv") if len(node.input) > 2]
    names += [name for node in mutant.find_nodes("Add") if set(node.input) & made for name in node.input]
    return [tensor for tensor in mutant.find_constants(names) if read(tensor).any()]


@NETWORK.add("An operator works along another axis")
def change_axis(mutant: Mutant) -> str:
    """Move an axis by one, or exchange two that follow each other in a permutation."""
    node, changed = mutant.pick(find_attributes(mutant.model.graph.node, "axis", "axes", "perm"))
    if changed.name == "perm":
        order = list(changed.ints)
        one = mutant.pick(range(len(order) - 1))
        order[one], order[one + 1] = order[one + 1], order[one]
        changed.ints[:] = order
    elif changed.name == "axes":
        changed.ints[0] += 1 if changed.ints[0] in (0, -2) else -1
    else:
        changed.i += 1 if changed.i in (0, -2) else -1
    return f"{changed.name} of {node.op_type} '{node.name}'"


@NETWORK.add("The padding of a convolution or pooling begins one element earlier")
def move_padding(mutant: Mutant) -> str:
    """Take one element of padding from an axis' end to its beginning."""
    padded = find_attributes(mutant.find_nodes("Conv", "MaxPool", "AveragePool", "Pad"), "pads")
    node, pads = mutant.pick([found for found in padded if len(found[1].ints) > 1 and found[1].ints[-1] > 0])
    half = len(pads.ints) // 2
    axis = mutant.pick(range(half))
    pads.ints[axis] += 1
    pads.ints[half + axis] -= 1
    return f"{node.op_type} '{node.name}', axis {axis}"


@NETWORK.add("A normalisation's epsilon is another framework's default")
def change_epsilon(mutant: Mutant) -> str:
    """Give a normalisation another epsilon."""
    node, epsilon = mutant.pick(find_attributes(mutant.model.graph.node, "epsilon"))
    before = epsilon.f
    others = [value for value in (1e-3, 1e-5, 1e-12) if not np.isclose(value, before, 0.1, 0)]
    epsilon.f = float(mutant.generator.choice(others))
    return f"{before:.0e} is {epsilon.f:.0e} in '{node.name}'"


@NETWORK.add("A normalisation is left out")
def drop_normalization(mutant: Mutant) -> str:
    """Turn a normalisation into an identity."""
    node = mutant.pick(mutant.find_nodes("LayerNormalization", "BatchNormalization", "Normalizer", "Scaler"))
    name = f"{node.op_type} '{node.name}'"
    bypass(node)
    return name


@NETWORK.add("An activation is left out")
def drop_activation(mutant: Mutant) -> str:
    """Turn an activation into an identity."""
    node = mutant.pick(mutant.find_nodes("Relu", "Tanh", "Sigmoid", "Abs", "Softmax", "LogSoftmax"))
    name = f"{node.op_type} '{node.name or node.output[0]}'"
    bypass(node)
    return name


@NETWORK.add("An activation is one that looks alike")
def replace_activation(mutant: Mutant) -> str:
    """Put an activation's cheaper or leakier relative in its place."""
    relatives = {"Relu": "LeakyRelu", "Sigmoid": "HardSigmoid", "Tanh": "Softsign", "Softmax": "LogSoftmax"}
    node = mutant.pick(mutant.find_nodes(*relatives))
    node.op_type = relatives[node.op_type]
    return f"{node.op_type} gives '{node.output[0]}'"


@NETWORK.add("A Relu stands behind a layer that has none")
def add_activation(mutant: Mutant) -> str:
    """Put a Relu behind a layer."""
    users = {name for node in mutant.find_nodes("Relu") for name in node.input}
    name = mutant.pick(sorted(_find_inner_values(mutant, *_LINEAR, "Add", "LayerNormalization") - users))
    mutant.insert(name, "Relu")
    return f"behind '{name}'"


def _find_inner_values(mutant: Mutant, *kinds: str) -> set[str]:
    """Return what nodes of these operators make for other nodes."""
    return {node.output[0] for node in mutant.find_nodes(*kinds)} - {value.name for value in mutant.model.graph.output}


@NETWORK.add("A branch for large inputs is frozen: what a trace without them leaves of `if x.max() > …`")
def saturate_input(mutant: Mutant) -> str:
    """Cut an input off near the end of its range."""
    value = mutant.pick([found for found in mutant.model.graph.input if found.type.tensor_type.elem_type == 1])
    if not any(value.name in node.input for node in mutant.model.graph.node):
        raise NoPlaceError
    share = float(mutant.generator.choice([0.9, 0.99]))
    mutant.add_constant("frozen", np.array(share * mutant.highest[value.name], np.float32))
    mutant.insert(value.name, "Min", ["frozen"])
    return f"'{value.name}' ends at {share:g} of its range"


@NETWORK.add("Two outputs have each other's name")
def exchange_outputs(mutant: Mutant) -> str:
    """Exchange the names of two outputs wherever they stand."""
    names = [output.name for output in mutant.model.graph.output]
    one, other = sorted(mutant.pick_two(len(names)))
    swap = {names[one]: names[other], names[other]: names[one]}
    for node in mutant.model.graph.node:
        node.output[:] = [swap.get(name, name) for name in node.output]
        node.input[:] = [swap.get(name, name) for name in node.input]
    return f"'{names[one]}' and '{names[other]}'"


@NETWORK.add("The last layer's answers are in another order")
def exchange_channels(mutant: Mutant) -> str:
    """Exchange two rows of the last layer's weight."""
    weights = mutant.find_constants(node.input[1] for node in mutant.find_nodes("Gemm"))
    if not weights:
        raise NoPlaceError
    array = read(weights[-1])
    one, other = mutant.exchange(array)
    rewrite(weights[-1], array)
    return f"rows {one} and {other} of {weights[-1].name}"


@NETWORK.add("A constant of the arithmetic is off by 1 %: a mean, a deviation, a scale")
def scale_constant(mutant: Mutant) -> str:
    """Multiply a constant operand by 1.01, or one element of a scaler's."""
    names = [name for node in mutant.find_nodes("Mul", "Div", "Add", "Sub") for name in node.input]
    operands = [
        tensor
        for tensor in mutant.find_constants(names)
        if tensor.data_type == onnx.TensorProto.FLOAT and read(tensor).any()
    ]
    scalers = [own for _, own in find_attributes(mutant.find_nodes("Scaler"), "scale", "offset")]
    places: list[onnx.TensorProto | onnx.AttributeProto] = [*operands, *scalers]
    place = mutant.pick(places)
    if isinstance(place, onnx.TensorProto):
        rewrite(place, read(place) * np.float32(PER_CENT))
    else:
        place.floats[mutant.pick(range(len(place.floats)))] *= PER_CENT
    return place.name


@NETWORK.add("A value is rounded on its way: to tenths or hundredths")
def round_value(mutant: Mutant) -> str:
    """Round what one node hands to the next."""
    name = mutant.pick(sorted(_find_inner_values(mutant, *_LINEAR, "Relu", "Tanh", "Add", "Mul", "Softmax")))
    steps = float(mutant.generator.choice([10.0, 100.0]))
    mutant.add_constant("steps", np.array(steps, np.float32))
    mutant.insert(name, "Mul", ["steps"])
    mutant.insert(f"{name}__Mul", "Round")
    mutant.insert(f"{name}__Mul__Round", "Div", ["steps"])
    return f"'{name}' to 1/{steps:g}"


@NETWORK.add("A slice or a gather is off by one")
def shift_index(mutant: Mutant) -> str:
    """Move one index by one."""
    names = [name for node in mutant.find_nodes("Slice", "Gather", "ArrayFeatureExtractor") for name in node.input[1:]]
    found = [tensor for tensor in mutant.find_constants(names) if tensor.data_type == onnx.TensorProto.INT64]
    tensor = mutant.pick(found)
    array = read(tensor)
    place = mutant.pick(range(array.size))
    array.flat[place] += -1 if array.flat[place] > 0 and mutant.generator.random() < 0.5 else 1
    rewrite(tensor, array)
    return f"{tensor.name}, element {place}"


@NETWORK.add("The size that the export was traced with stands where the input's own belongs")
def bake_size(mutant: Mutant) -> str:
    """Put a constant in the place of a size that depends on the input."""
    names = [node.input[1] for node in mutant.find_nodes("Reshape", "Expand")]
    free = [tensor for tensor in mutant.find_constants(names) if (read(tensor) == -1).any()]
    places: list[onnx.NodeProto | onnx.TensorProto] = [*mutant.find_nodes("Shape"), *free]
    place = mutant.pick(places)
    if isinstance(place, onnx.TensorProto):
        array = read(place)
        array[array == -1] = 2
        rewrite(place, array)
        return f"the shape {place.name}"
    name = place.output[0]
    mutant.add_constant("one", np.array([1], np.int64))
    mutant.insert(name, "Min", ["one"])
    return f"all sizes in '{name}' are 1"


@NETWORK.add("A pooling takes the mean in the place of the maximum, or the reverse")
def replace_pooling(mutant: Mutant) -> str:
    """Let a pooling or a reduction gather in another way."""
    node = mutant.pick(mutant.find_nodes("MaxPool", "ReduceMean", "ReduceMax", "ReduceSum"))
    if node.op_type == "MaxPool":
        node.op_type = "AveragePool"
        for name in ("storage_order", "dilations"):
            if (found := find_attribute(node, name)) is not None:
                node.attribute.remove(found)
    else:
        node.op_type = "ReduceMax" if node.op_type != "ReduceMax" else "ReduceMean"
    return f"{node.op_type} gives '{node.output[0]}'"


@NETWORK.add("The two sides of a division, subtraction or comparison are exchanged, or the parts of a concatenation")
def exchange_operands(mutant: Mutant) -> str:
    """Exchange the last two inputs of a node whose inputs have an order."""
    node = mutant.pick(mutant.find_nodes("Div", "Sub", "GreaterOrEqual", "Concat", "Where"))
    if len(node.input) < 2 or node.input[-1] == node.input[-2]:
        raise NoPlaceError
    node.input[-1], node.input[-2] = node.input[-2], node.input[-1]
    return f"{node.op_type} '{node.name or node.output[0]}'"
