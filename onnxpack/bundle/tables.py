"""How a model's inputs and outputs are columns of csv files, where they can be."""

from dataclasses import dataclass
from functools import cached_property

from onnxpack.bundle import quoting
from onnxpack.core.values import TensorInfo


@dataclass(frozen=True)
class Tables:
    """The tables of a model; one of its two sides may be none."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def __bool__(self) -> bool:
        """Return whether there is any table."""
        return self.read or self.written

    @cached_property
    def read(self) -> bool:
        """Return whether the inputs are the columns of one table."""
        return bool(list_columns(self.inputs))

    @cached_property
    def written(self) -> bool:
        """Return whether the outputs are the columns of one table."""
        return bool(list_columns(self.outputs))

    @property
    def row_axis(self) -> str | None:
        """Return the axis along which the rows of the inputs lie; None where their number is fixed."""
        first = self.inputs[0].shape[0]
        return first if isinstance(first, str) else None

    @property
    def lines(self) -> list[str]:
        """Return for a reader which columns each input and output has."""
        rows: list[tuple[str, ...]] = []
        for title, infos in (("input", self.inputs), ("output", self.outputs)):
            found = list_columns(infos)
            cells = [names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" for names in found.values()]
            rows += [(title, "columns"), *zip(found, cells, strict=True), ()] if found else []
        return quoting.align_columns(rows[:-1])

    @property
    def has_vectors(self) -> bool:
        """Return whether a row of an input has several columns."""
        return any(len(columns) > 1 for columns in list_columns(self.inputs).values())


def list_columns(infos: tuple[TensorInfo, ...]) -> dict[str, list[str]]:
    """Return the columns of each tensor, by its name; an empty dictionary where they are no columns of one table.

    They are if all have the same number of rows and no other size that varies, and no two columns have one name.
    """
    if any(len(info.shape) not in (1, 2) for info in infos) or len({info.shape[0] for info in infos}) != 1:
        return {}
    if any(info.dtype == "bytes" for info in infos):
        return {}
    found: dict[str, list[str]] = {}
    for info in infos:
        count = info.shape[1] if len(info.shape) == 2 else 1
        if not isinstance(count, int) or count < 1:
            return {}
        found[info.name] = [info.name] if count == 1 else [f"{info.name}{index}" for index in range(count)]
    names = [name for columns in found.values() for name in columns]
    return found if len(set(names)) == len(names) else {}
