"""Compares what two versions of a model take and give, and tells which changes break a client.

A client is whoever sends requests to the image, or calls the generated module: what it did with the old model must work
with the new one. An input that takes less breaks it, one that takes more does not; with outputs it is the other way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from onnxpack.core.values import Axis
from onnxpack.spec.conclusions import list_output_names
from onnxpack.spec.intakes import list_client_axes, list_client_inputs
from onnxpack.spec.model import Spec

Part = Literal["inputs", "outputs", "axes"]
Size = int | str


@dataclass(frozen=True)
class Change:
    """One difference between two signatures: where it is, what it is, and whether it breaks clients."""

    part: Part
    name: str
    """The name that the input, output or axis had, or has, if it is new."""
    words: str
    """The change as one sentence, which names the place too."""
    breaking: bool


@dataclass(frozen=True)
class _Tensor:
    """One input or output; what is not known of it is None."""

    name: str
    dtype: str | None
    shape: tuple[Size, ...] | None


@dataclass(frozen=True)
class _Signature:
    """What a model takes and gives; None where a description says nothing about it."""

    inputs: tuple[_Tensor, ...] | None
    outputs: tuple[_Tensor, ...] | None
    axes: Mapping[str, tuple[int, int]]


@dataclass
class _Axes:
    """Which size of the old inputs became which of the new ones, as far as the shapes have been gone through."""

    old: Mapping[str, tuple[int, int]]
    new: Mapping[str, tuple[int, int]]
    became: list[tuple[Size, Size]] = field(default_factory=list)

    def find(self, old: Size) -> set[Size]:
        """Return what an old size became; nothing if no input has it."""
        return {new for before, new in self.became if before == old}


def describe_signature(spec: Spec) -> dict[str, Any]:
    """Return what a spec says of inputs, outputs and axes before a build, in the form of a report's ``model``.

    A spec names its outputs at most: what it does not say of them is left out.
    """
    return {
        "inputs": [
            {"name": info.name, "dtype": info.dtype, "shape": list(info.shape)} for info in list_client_inputs(spec)
        ],
        "outputs": [{"name": name} for name in list_output_names(spec)] or None,
        "axes": describe_axes(list_client_axes(spec)),
    }


def describe_axes(axes: Iterable[Axis]) -> dict[str, dict[str, int]]:
    """Return dynamic axes in the form of a report's ``model``."""
    return {axis.name: {"min": axis.min, "opt": axis.opt, "max": axis.max} for axis in axes}


def compare_signatures(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the changes from one model to another, described as a report's ``model`` or by ``describe_signature``.

    A description has ``inputs`` and ``outputs``, lists of ``{"name", "dtype", "shape"}``, and ``axes``, a mapping of
    names to ``{"min", "max"}``. What one of the two does not say is not compared.

    Raises:
        ValueError: one has another form.
    """
    before, after = _read(old), _read(new)
    axes = _Axes(before.axes, after.axes)
    found = [
        *_compare_tensors("inputs", before.inputs, after.inputs, axes),
        *_compare_axes(axes),
        *_compare_tensors("outputs", before.outputs, after.outputs, axes),
    ]
    return tuple(dict.fromkeys(found))


def _read(described: Mapping[str, Any]) -> _Signature:
    try:
        axes = {str(name): (int(axis["min"]), int(axis["max"])) for name, axis in (described.get("axes") or {}).items()}
        return _Signature(_read_tensors(described.get("inputs")), _read_tensors(described.get("outputs")), axes)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"it does not describe inputs and outputs: {error!r}") from None


def _read_tensors(described: Any) -> tuple[_Tensor, ...] | None:
    if described is None:
        return None
    found = []
    for item in described:
        shape = item.get("shape")
        sizes = None if shape is None else tuple(size if isinstance(size, int) else str(size) for size in shape)
        dtype = item.get("dtype")
        found.append(_Tensor(str(item["name"]), None if dtype is None else str(dtype), sizes))
    return tuple(found)


def _compare_tensors(
    part: Part, old: tuple[_Tensor, ...] | None, new: tuple[_Tensor, ...] | None, axes: _Axes
) -> Iterator[Change]:
    if old is None or new is None:
        return
    word = part.removesuffix("s")
    pairs = _pair(old, new)
    paired = {after.name for after in pairs.values()}
    for before in old:
        if before.name not in pairs:
            yield Change(part, before.name, f"{word} '{before.name}' was removed", breaking=True)
    for after in new:
        if after.name not in paired:
            words = f"{word} '{after.name}' is new" + (", and every request needs it" if part == "inputs" else "")
            yield Change(part, after.name, words, breaking=part == "inputs")
    for before in old:
        if before.name in pairs:
            yield from _compare_pair(part, before, pairs[before.name], axes)
    ordered = [pairs[before.name].name for before in old if before.name in pairs]
    # A new output shifts those behind it; that a new input does need not be said besides.
    places = [after.name for after in new if after.name in paired or part == "outputs"]
    if ordered != places[: len(ordered)]:
        how = "`predict` takes them" if part == "inputs" else "a prediction has them"
        names = ", ".join(after.name for after in new)
        yield Change(part, "", f"the order of the {part} changed, and {how} by place: {names}", breaking=True)


def _pair(old: Sequence[_Tensor], new: Sequence[_Tensor]) -> dict[str, _Tensor]:
    """Map each old name to the tensor that it is now: by the name, else by what only one of both sides is left with."""
    names = {tensor.name: tensor for tensor in new}
    pairs = {before.name: names[before.name] for before in old if before.name in names}
    known = {before.name for before in old}
    lost, added = _group(old, set(pairs)), _group(new, known)
    for kind, before in lost.items():
        after = added.get(kind, [])
        if len(before) == len(after) == 1 and kind[0] is not None:
            pairs[before[0].name] = after[0]
    return pairs


def _group(tensors: Sequence[_Tensor], known: set[str]) -> dict[tuple[Any, Any], list[_Tensor]]:
    found: dict[tuple[Any, Any], list[_Tensor]] = {}
    for tensor in tensors:
        if tensor.name not in known:
            found.setdefault((tensor.dtype, tensor.shape), []).append(tensor)
    return found


def _compare_pair(part: Part, old: _Tensor, new: _Tensor, axes: _Axes) -> Iterator[Change]:
    place = f"{part.removesuffix('s')} '{old.name}'"
    if old.name != new.name:
        yield Change(part, old.name, f"{place} is called '{new.name}' now", breaking=True)
    if old.dtype != new.dtype and None not in (old.dtype, new.dtype):
        yield Change(part, old.name, f"{place} was {old.dtype}, and is {new.dtype} now", breaking=True)
    if old.shape is None or new.shape is None:
        return
    if len(old.shape) != len(new.shape):
        words = f"{place} had the shape {_show(old.shape)}, and has {_show(new.shape)} now"
        yield Change(part, old.name, words, breaking=True)
        return
    for index, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):
        at = f"{place}, dimension {index}"
        found = _compare_input_size(before, after, axes) if part == "inputs" else _compare_size(before, after, axes)
        if found:
            yield Change(part, old.name, f"{at}: {found[0]}", breaking=found[1])


def _compare_input_size(old: Size, new: Size, axes: _Axes) -> tuple[str, bool] | None:
    """Return how one size of an input changed, and whether less is taken; ``_compare_axes`` compares two axes."""
    axes.became.append((old, new))
    if old == new or (isinstance(old, str) and isinstance(new, str)):
        return None
    if isinstance(old, int) and isinstance(new, int):
        return f"{old} became {new}", True
    before, after = _limits(old, axes.old), _limits(new, axes.new)
    # A range that is not known gets the benefit of the doubt, but for one size it is too much to hope.
    less = not _holds(after, before) if before and after else isinstance(new, int)
    return f"{_name(old, axes.old)} became {_name(new, axes.new)}", less


def _compare_axes(axes: _Axes) -> Iterator[Change]:
    """Compare the ranges of the axes of inputs, and which sizes must be equal."""
    pairs = dict.fromkeys((old, new) for old, new in axes.became if isinstance(old, str) and isinstance(new, str))
    for old, new in pairs:
        place = f"axis '{old}'"
        if old != new:
            yield Change("axes", old, f"{place} is called '{new}' now", breaking=False)
        before, after = axes.old.get(old), axes.new.get(new)
        if before and after and before != after:
            words = f"{place} took {_range(before)}, and takes {_range(after)} now"
            yield Change("axes", old, words, breaking=not _holds(after, before))
    for new, group in groupby(sorted(pairs, key=itemgetter(1)), key=itemgetter(1)):
        olds = [old for old, _ in group]
        if len(olds) > 1:
            words = f"the sizes {', '.join(map(repr, olds))} could differ, and are one, '{new}', now"
            yield Change("axes", olds[0], words, breaking=True)


def _compare_size(old: Size, new: Size, axes: _Axes) -> tuple[str, bool] | None:
    """Return how one size of an output changed: a client may lean on each, but a name alone tells it nothing."""
    followed = axes.find(old) if isinstance(old, str) else set()
    alike = new in followed if followed else old == new or (isinstance(old, str) and isinstance(new, str))
    if alike:
        return None
    if old == new:
        called = ", ".join(sorted(map(_quote, followed)))
        return f"{_quote(new)} is another axis now, and what it was is {called}", True
    return f"{_quote(old)} became {_quote(new)}", True


def _limits(size: Size, axes: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else axes.get(size)


def _holds(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _range(limits: tuple[int, int]) -> str:
    return f"{limits[0]} to {limits[1]}"


def _name(size: Size, axes: Mapping[str, tuple[int, int]]) -> str:
    limits = None if isinstance(size, int) else axes.get(size)
    return _quote(size) + (f" ({_range(limits)})" if limits else "")


def _quote(size: Size) -> str:
    return str(size) if isinstance(size, int) else f"'{size}'"


def _show(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
