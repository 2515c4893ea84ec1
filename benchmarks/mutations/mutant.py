"""A model that is about to become faulty, and the kinds of faults that can be planted in it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import onnx
from numpy.random import Generator
from onnx import helper, numpy_helper

PER_CENT = 1.01
_Place = TypeVar("_Place")


class NoPlaceError(Exception):
    """The model has no place for the fault, or the fault would change nothing at the place that was drawn."""


@dataclass(frozen=True)
class Mutant:
    """A model to be changed in place, the generator that draws where, and the ends of its inputs' declared ranges."""

    model: onnx.ModelProto
    generator: Generator
    highest: Mapping[str, float]

    def pick(self, places: Sequence[_Place]) -> _Place:
        """Return one of the places."""
        if not places:
            raise NoPlaceError
        return places[int(self.generator.integers(0, len(places)))]

    def pick_two(self, count: int) -> tuple[int, int]:
        """Return two different indices below ``count``."""
        if count < 2:
            raise NoPlaceError
        one, other = self.generator.choice(count, 2, replace=False)
        return int(one), int(other)

    def pick_nonzero(self, values: Any) -> int:
        """Return the index of one value, and give up if that value is 0."""
        place = self.pick(range(len(values)))
        if values[place] == 0:
            raise NoPlaceError
        return place

    def exchange(self, values: Any) -> tuple[int, int]:
        """Exchange two of the values, and return their indices."""
        one, other = self.pick_two(len(values))
        # A row of an array is a view, which the first assignment would write into.
        values[one], values[other] = values[other], copy(values[one])
        return one, other

    def find_nodes(self, *kinds: str) -> list[onnx.NodeProto]:
        """Return the nodes of some operators."""
        return [node for node in self.model.graph.node if node.op_type in kinds]

    def find_tensors(self, least: int) -> list[onnx.TensorProto]:
        """Return every constant of floats with at least so many elements."""
        values = [value for _, value in find_attributes(self.find_nodes("Constant"), "value")]
        held = [value.t for value in values if value.type == onnx.AttributeProto.TENSOR]
        return [
            tensor
            for tensor in (*self.model.graph.initializer, *held)
            if tensor.data_type == onnx.TensorProto.FLOAT and int(np.prod(tensor.dims)) >= least
        ]

    def find_constant(self, name: str) -> onnx.TensorProto | None:
        """Return the initializer, or the value of the Constant node, of this name."""
        named = [tensor for tensor in self.model.graph.initializer if tensor.name == name]
        held = find_attributes(self.find_nodes("Constant"), "value")
        named += [value.t for node, value in held if node.output[0] == name]
        return named[0] if named else None

    def find_constants(self, names: Iterable[str]) -> list[onnx.TensorProto]:
        """Return the constants among the values of these names."""
        return [tensor for name in names if (tensor := self.find_constant(name)) is not None]

    def add_constant(self, name: str, array: Any) -> None:
        """Add an initializer."""
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))

    def insert(self, name: str, kind: str, constants: Sequence[str] = ()) -> None:
        """Put a node between a value and all that use it."""
        graph, new = self.model.graph, f"{name}__{kind}"
        for node in graph.node:
            node.input[:] = [new if used == name else used for used in node.input]
        place = next((index + 1 for index, node in enumerate(graph.node) if name in node.output), 0)
        graph.node.insert(place, helper.make_node(kind, [name, *constants], [new], name=new))


Plant = Callable[[Mutant], str]
"""Plants a fault, and returns words on where; raises NoPlaceError where it cannot."""


class Fault(NamedTuple):
    """A kind of fault, in words and in code."""

    words: str
    plant: Plant


class Faults(dict[str, Fault]):
    """Faults by the names of their functions, in the order in which they are written down."""

    def add(self, words: str) -> Callable[[Plant], Plant]:
        """Return a decorator that adds the fault of these words."""

        def keep(plant: Plant) -> Plant:
            self[plant.__name__] = Fault(words, plant)
            return plant

        return keep


def find_attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    """Return a node's attribute, to be changed in place."""
    return next((found for found in node.attribute if found.name == name), None)


def find_attributes(nodes: Iterable[onnx.NodeProto], *names: str) -> list[tuple[onnx.NodeProto, onnx.AttributeProto]]:
    """Return the attributes of these names, each behind its node."""
    return [(node, found) for node in nodes for name in names if (found := find_attribute(node, name)) is not None]


def read(tensor: onnx.TensorProto) -> Any:
    """Return a constant's value, to be changed."""
    return numpy_helper.to_array(tensor).copy()


def rewrite(tensor: onnx.TensorProto, array: Any) -> None:
    """Give a constant another value."""
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def bypass(node: onnx.NodeProto) -> None:
    """Let a node pass its first input on."""
    del node.input[1:], node.attribute[:]
    node.op_type, node.domain = "Identity", ""
