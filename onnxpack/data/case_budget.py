"""The limit on the memory of the cases to verify, and the choice of their sizes within it."""

from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from typing import Any

from onnxpack.core.text import plural
from onnxpack.data.domains import get_numpy_dtype
from onnxpack.data.test_inputs import list_corners, list_main_sizes, resolve_shape
from onnxpack.spec.model import Input, Spec
from onnxpack.spec.served import make_served_spec

MAX_BYTES = 2**30
"""The limit on the inputs and outputs of all cases together."""

MIN_CASES = 3
"""The least number of random cases, also if the axes have fewer sizes: one draw proves little."""

_STRING_BYTES = 4  # of a character, as numpy keeps it


def count_input_bytes(spec: Spec, at: dict[str, int]) -> int:
    """Return the size in bytes of one case's inputs."""
    total = 0
    for tensor in spec.inputs.values():
        count = 1
        for size in resolve_shape(tensor, at):
            count *= size
        total += count * _item_bytes(tensor)
    return total


def _item_bytes(tensor: Input) -> int:
    if tensor.dtype == "string":
        return _STRING_BYTES * max((len(str(choice)) for choice in tensor.choices or ()), default=8)
    return get_numpy_dtype(tensor).itemsize


class Budget:
    """A budget that keeps the cases within ``limit`` bytes, and lists in ``notes`` what it leaves out.

    The size of outputs is estimated from the cases that ran: by the highest ratio of output to input bytes.
    """

    def __init__(self, spec: Spec, limit: int = MAX_BYTES) -> None:
        self._spec = make_served_spec(spec)
        # With steps there are inputs of two kinds: what a client sends, and what the model takes.
        self._levels = (spec,) if self._spec is spec else (self._spec, spec)
        self._limit = limit
        self._outputs_per_input = 1.0  # a guess until a case has run
        self._spent = 0
        self.notes: list[str] = []

    def count(self, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
        """Add the bytes of a case that ran to what is spent."""
        given, made = sum(array.nbytes for array in inputs), sum(array.nbytes for array in outputs)
        self._spent += given + made
        if given:
            self._outputs_per_input = max(self._outputs_per_input, made / given)

    def cost(self, at: dict[str, int]) -> int:
        """Estimate the bytes of a case at these sizes."""
        return int(sum(count_input_bytes(spec, at) for spec in self._levels) * (1 + self._outputs_per_input))

    def sizes(self) -> Iterator[dict[str, int]]:
        """Yield the sizes to verify: main sizes are reduced until they fit, corners that do not fit are left out.

        Each comes once, or again if there would be fewer than ``MIN_CASES``.
        """
        seen: list[dict[str, int]] = []
        for at in map(self._reduce, list_main_sizes(self._spec.axes)):
            if at not in seen:
                seen.append(at)
                yield at
        left_out = 0
        for at in list_corners(self._spec.axes):
            if at in seen:
                continue
            seen.append(at)
            if self._fits(at):
                yield at
            else:
                left_out += 1
        for at in islice(cycle(tuple(seen)), max(0, MIN_CASES - len(seen))):
            if self._fits(at):
                yield at
        if left_out:
            corners_left = f"{plural(left_out, 'mixed corner')} of the axes' sizes {'is' if left_out == 1 else 'are'}"
            self.notes.append(f"{corners_left} not verified: {self._explain_limit()}")

    def _reduce(self, at: dict[str, int]) -> dict[str, int]:
        found = dict(at)
        low = {axis.name: axis.min for axis in self._spec.axes}
        while not self._fits(found):
            name = max(found, key=lambda axis: found[axis] - low[axis], default="")
            if not name or found[name] <= max(low[name], 1):
                break  # the smallest sizes are verified whatever they take
            found[name] = max(low[name], found[name] // 2)
        changed = [f"{name} {size} instead of {at[name]}" for name, size in found.items() if size != at[name]]
        if changed:
            self.notes.append(f"verified at {', '.join(changed)}: {self._explain_limit()}")
        return found

    def _fits(self, at: dict[str, int]) -> bool:
        return self._spent + self.cost(at) <= self._limit

    def _explain_limit(self) -> str:
        return f"inputs and outputs of all cases may take {self._limit / 2**20:.0f} MiB"
