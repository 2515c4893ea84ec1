"""PyTorch: find where a traced model's Python code decides by values that its inputs will change.

TorchScript's tracer runs the model once and keeps the operators that it saw. A tensor that becomes a Python number in
``if``, ``while``, ``range`` or ``item()`` leaves the graph: what was decided by it is fixed to the traced inputs, with
no more than a warning. Sizes and parameters may decide: sizes are verified at several values, and parameters stay.
So each tensor is followed from the model's inputs on, and only what depends on their values is told.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from types import FrameType
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from onnxpack.sources.torch.lines import only_raises

# What makes Python values, or constants, of a tensor's values.
_CONVERSIONS = {
    "__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__", "__array__", "item", "tolist",
    "numpy", "equal", "allclose", "is_nonzero", "tensor", "as_tensor", "new_tensor",
    "_nested_tensor_from_mask_left_aligned",
}  # fmt: skip
# What tells of its first argument no more than its size.
_SIZES = {"shape", "size", "numel", "nelement", "dim", "ndim", "__len__", "_shape_as_tensor"}
_LIKE = re.compile(r"(zeros|ones|empty|full|rand|randn|randint)_like|new_(zeros|ones|empty|full|empty_strided)")
# What gives tensors whose sizes depend on values.
_SIZED_BY_VALUES = {
    "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount", "repeat_interleave", "arange",
}  # fmt: skip
_IN_PLACE = re.compile(r"__setitem__|__i(?!nt__|ndex__|nvert__)\w+__|.*[^_]_")
_CONSTANT_NODES = {"prim::Constant", "prim::Param", "prim::GetAttr", "prim::TracedAttr"}
"""Kinds of nodes for what was there before the trace; inputs, which are parameters of the graph too, are marked."""
_SHOWN_ABOVE = ("/torch/overrides.py", "/torch/_tensor.py")
Place = tuple[str, int]


class Dependence(IntEnum):
    """How a tensor depends on the values of the inputs."""

    NOTHING = 0
    VALUES = 1
    SIZES = 2
    """And with them the values."""


class Loops(TorchFunctionMode):
    """Records, by the lines that led to them, how many steps loops over tensors (``for row in tensor``) make."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[tuple[Place, ...], set[int]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function, and note the loop that it begins, if it does."""
        if _is_iteration(func):
            self.steps.setdefault(_places(), set()).add(int(args[0].size(0)))
        return func(*args, **(kwargs or {}))


class Watch(Loops):
    """Follows what depends on the inputs' values while a module is traced; ``decisions`` are the findings.

    Each is a place where values of the inputs leave the graph: the lines that led to it, the innermost one last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[tuple[Place, ...]] = []
        self._known: dict[StorageWeakRef, Dependence] = {}

    def mark_inputs(self, tensors: Sequence[torch.Tensor]) -> None:
        """Mark these tensors as the inputs, so that what is made from them depends on their values."""
        for tensor in tensors:
            self._known[_storage(tensor)] = Dependence.VALUES

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function, note a decision, and mark what it gives and what it changes in place."""
        given = kwargs or {}
        # Before the trace begins nothing leaves the graph.
        if torch._C._get_tracing_state() is None:
            return func(*args, **given)
        name = _name(func)
        depends = max(map(self._dependence, _tensors((args, given))), default=Dependence.NOTHING)
        if self._decides(name, func, depends, args) and not only_raises(*_places()[-1]):
            self.decisions.append(_places())
        result = super().__torch_function__(func, types, args, given)
        after = self._after(name, depends, args)
        for tensor in _tensors(result):
            self._mark(tensor, after)
        for tensor in _tensors((args[:1] if _IN_PLACE.fullmatch(name) else (), given.get("out"))):
            self._mark(tensor, depends)
        return result

    def _decides(self, name: str, func: Callable[..., Any], depends: Dependence, args: Sequence[Any]) -> bool:
        """Return whether a function turns values of the inputs into Python values."""
        # These read a size alone, which may itself depend on values, as after nonzero.
        if name == "__len__" or _is_iteration(func):
            return depends is Dependence.SIZES
        if name == "as_tensor" and isinstance(args[0], torch.Tensor):
            return False  # it gives the tensor itself
        return name in _CONVERSIONS and depends is not Dependence.NOTHING

    def _after(self, name: str, depends: Dependence, args: Sequence[Any]) -> Dependence:
        """Return how a function's result depends on the inputs' values, from how its arguments do."""
        if name in _SIZES:
            return Dependence.VALUES if depends is Dependence.SIZES else Dependence.NOTHING
        if _LIKE.fullmatch(name):
            # ``zeros_like`` and its kin take of their first argument the size alone; of the others the values.
            rest = max(map(self._dependence, _tensors(args[1:])), default=Dependence.NOTHING)
            return depends if depends is Dependence.SIZES else rest
        if depends is Dependence.VALUES and (
            name in _SIZED_BY_VALUES
            or (name == "where" and len(args) == 1)
            or (name == "__getitem__" and self._selects(args[1]))
        ):
            return Dependence.SIZES
        return depends

    def _selects(self, index: Any) -> bool:
        """Return whether an index holds a mask, or slice ends, that depend on values; then the result's size does."""
        for part in index if isinstance(index, tuple | list) else (index,):
            ends = (part.start, part.stop, part.step) if isinstance(part, slice) else ()
            masks = [part] if isinstance(part, torch.Tensor) and part.dtype in (torch.bool, torch.uint8) else []
            if any(self._dependence(one) for one in _tensors([*ends, *masks])):
                return True
        return False

    def _dependence(self, tensor: torch.Tensor) -> Dependence:
        """Look a tensor up; one that no Python function gave is a constant, or comes out of a scripted part."""
        key = _storage(tensor)
        if key not in self._known:
            node = torch._C._get_value_trace(tensor).node()  # type: ignore[attr-defined]
            constant = node.kind() in _CONSTANT_NODES
            self._known[key] = Dependence.NOTHING if constant else Dependence.VALUES
        return self._known[key]

    def _mark(self, tensor: torch.Tensor, depends: Dependence) -> None:
        """Keep the strongest dependence that is known of a storage, as its views see what is written into it."""
        key = _storage(tensor)
        self._known[key] = max(depends, self._known.get(key, Dependence.NOTHING))


def _storage(tensor: torch.Tensor) -> StorageWeakRef:
    # It keeps no memory alive, but the storage's address, which would else be given to another one.
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _name(func: Callable[..., Any]) -> str:
    """Return a function's name, and for a property such as ``shape`` the property's."""
    name = getattr(func, "__name__", "")
    return str(getattr(getattr(func, "__self__", None), "__name__", name)) if name == "__get__" else str(name)


def _is_iteration(func: Callable[..., Any]) -> bool:
    """Return whether ``unbind`` is called by ``Tensor.__iter__``, which itself cannot be seen."""
    if _name(func) != "unbind":
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__iter__"


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested lists, tuples (sizes among them), dicts and slices."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, slice):
        yield from _tensors([value.start, value.stop, value.step])


def _places() -> tuple[Place, ...]:
    """Return the lines on the stack, innermost last, without this module's and those that stand for an operator."""
    places: list[Place] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        if frame.f_code.co_filename != __file__ and (places or not frame.f_code.co_filename.endswith(_SHOWN_ABOVE)):
            places.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(places))
