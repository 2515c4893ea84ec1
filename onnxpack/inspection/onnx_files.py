"""What ``onnxpack init`` learns from an ONNX file."""

import re
from collections import Counter
from pathlib import Path

from onnxpack.core.errors import Problem, SourceError
from onnxpack.core.text import clean
from onnxpack.core.values import Shape, TensorInfo
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.learned import finish
from onnxpack.spec.model import DEFAULT_OPSET


def look_at_onnx_file(grown: Draft, destination: Path) -> Draft:
    """Learn the inputs, outputs and opset that an ONNX file declares."""
    from onnxpack.graph.check import get_opset, list_inputs, read_info, read_model
    from onnxpack.graph.convert import find_nearest_opset
    from onnxpack.graph.old_opsets import RUNTIME_MIN_OPSET
    from onnxpack.sources import onnx as source

    path = destination.parent / grown.fields["model"]["path"]
    model = read_model(path)
    values = list_inputs(model.graph)
    shapeless = [value.name for value in values if not value.type.tensor_type.HasField("shape")]
    if shapeless:
        hint = "export it again with the shapes of its inputs"
        raise SourceError(
            [Problem(f"'{path.name}' has no shape for input '{clean(name)}'", hint) for name in shapeless]
        )
    axes = _Axes()
    grown.fields["inputs"] = {
        info.name: {"dtype": info.dtype, "shape": axes.name_shape(info)} for info in map(read_info, values)
    }
    for text in axes.notes:
        grown.note("inputs", text=text)
    finish(grown, [axes.translate(read_info(value)) for value in model.graph.output])
    loaded = source.load(grown.file(destination))
    have = get_opset(model)
    if have < RUNTIME_MIN_OPSET:
        grown.fields["opset"] = find_nearest_opset(loaded.model, DEFAULT_OPSET)
        grown.note("opset", text=f"the file has opset {have}, which the runtime lacks parts of: a build converts it")
    else:
        grown.fields["opset"] = have
        grown.note("opset", text="the file's own; a higher one converts it")
    return grown


class _Axes:
    """Names for the dimensions without a size: the file's own where the spec's grammar allows them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()
        """How many axes were called by a word: a file may have ten thousand of one."""
        self.notes: list[str] = []

    def name_shape(self, info: TensorInfo) -> list[int | str]:
        """Return the input's shape with a name for every open dimension."""
        return [
            size if isinstance(size, int) else self._name(info, index, size) for index, size in enumerate(info.shape)
        ]

    def translate(self, info: TensorInfo) -> TensorInfo:
        """Return an output with its shape in the names that the inputs have got."""
        shape: Shape = tuple(self._names.get(size, size) if isinstance(size, str) else size for size in info.shape)
        return TensorInfo(info.name, info.dtype, shape)

    def _name(self, info: TensorInfo, index: int, own: str) -> str:
        unnamed = own == "?"
        # What stands first in an input is nearly always the batch, which inputs share.
        key = ("?batch" if index == 0 else f"?{info.name}_{index}") if unnamed else own
        if key in self._names:
            return self._names[key]
        word = re.sub(r"\W+", "_", key.removeprefix("?"), flags=re.ASCII)[:50]
        word = f"_{word}" if not word or word[0].isdigit() else word
        free = word
        while free in self._taken:
            self._counts[word] += 1
            free = f"{word}_{self._counts[word] + 1}"
        self._taken.add(free)
        self._names[key] = free
        if unnamed:
            text = "check: the file has no name for the axis '{}'; axes that always have one size need one name"
            self.notes.append(text.format(free))
        elif free != own:
            self.notes.append(f"the file calls the axis '{free}' '{clean(own, 60)}'")
        return free
