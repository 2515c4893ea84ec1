"""What ``onnxpack init`` learns from a model. All of it runs in a child process: a model's file may be hostile.

Each function takes a draft with the source in it, and gives it back with the inputs and what else is known. What a
build would refuse is refused here, by the same code.
"""

import inspect
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import Problem, SourceError, SpecError, describe_error
from onnxpack.core.text import clean
from onnxpack.core.values import Shape, TensorInfo
from onnxpack.data.test_inputs import choose_odd_sizes, choose_tracing_sizes, draw
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.weights import Weights, first_layer, read_weights
from onnxpack.spec.load import SpecFile, find_work_tree
from onnxpack.spec.model import DEFAULT_OPSET

_SHOWN_NAMES = 40
_GUESSED_AXES = "check: the sizes that the model is to be verified for and to serve; these are a guess"
_RANGES = (
    "check: which values are real ones is not known. Give an input range: [low, high] or choices: [a, b]; without "
    "them its samples are normal floats, or integers from 0 to 9"
)


def onnx_file(grown: Draft, destination: Path) -> Draft:
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
    _finish(grown, [axes.translate(read_info(value)) for value in model.graph.output])
    loaded = source.load(grown.file(destination))
    have = get_opset(model)
    if have < RUNTIME_MIN_OPSET:
        grown.fields["opset"] = find_nearest_opset(loaded.model, DEFAULT_OPSET)
        grown.note("opset", text=f"the file has opset {have}, which the runtime lacks parts of: a build converts it")
    else:
        grown.fields["opset"] = have
        grown.note("opset", text="the file's own; a higher one converts it")
    return grown


def sklearn_file(grown: Draft, destination: Path) -> Draft:
    """Learn from a pickled estimator, which the user trusts, how many columns it takes and what it answers."""
    from onnxpack.sources import sklearn as source

    known = "inputs" in grown.fields
    if not known:
        grown.fields["inputs"] = {"x": {"dtype": "float32", "shape": ["batch", 1]}}
        grown.declare_axes()
    model = source.load(grown.file(destination))
    kind = type(model).__name__
    count = getattr(model, "n_features_in_", None)
    if not known and not isinstance(count, int | np.integer):
        raise SpecError(
            f"this {kind} does not tell how many columns it takes", "give them with `--input x:float32:batch,4`"
        )
    if not known:
        grown.fields["inputs"]["x"]["shape"] = ["batch", int(count or 0)]
    (name,) = grown.fields["inputs"]
    grown.note("inputs", name, text=f"of a {kind}: one row per sample{_columns(model)}")
    outputs = _answers(source, model, grown.file(destination))
    if len(outputs) == 2:
        names = ["label", "probabilities"]
    elif not hasattr(model, "predict"):
        names = ["features"]
    else:
        names = ["value" if outputs[0].dtype.startswith("float") else "label"]
    _finish(grown, [TensorInfo(new, info.dtype, info.shape) for new, info in zip(names, outputs, strict=True)])
    classes = getattr(model, "classes_", None)
    if classes is not None:
        grown.note("outputs", text=f"the classes, in order: {_some(classes)}")
    return grown


def torch_code(grown: Draft, destination: Path) -> Draft:
    """Learn the outputs of a factory's module, with weights or without, by running it."""
    from onnxpack.sources import torch as source

    model = grown.fields["model"]
    if "weights" in model:
        _find(read_weights(destination.parent / model["weights"]), grown)
    known = "inputs" in grown.fields
    if not known:
        grown.fields["inputs"] = {}
    file = grown.file(destination)
    module = source.load(file)
    if "weights" not in model:
        try:
            source.require_weights(file)
        except SourceError as error:  # the build would refuse it, and only the user knows what is meant
            grown.note("model", "factory", text=f"check: {error.problems[0]}")
    if not known:
        names = [name for name, one in inspect.signature(module.forward).parameters.items() if one.default is one.empty]
        example = " ".join(f"--input {name}:float32:batch,4" for name in names)
        raise SpecError(
            "the inputs' dtypes and shapes are not known", f"give them in the order of forward's arguments: {example}"
        )
    _finish(grown, _answers(source, module, file))
    return grown


def weights_file(grown: Draft, destination: Path) -> Draft:
    """Learn from weights where they are in the file, which code may fit, and what the first layer seems to take."""
    from onnxpack.inspection.code import find_class

    model = grown.fields["model"]
    path = destination.parent / model["weights"]
    weights = read_weights(path)
    _find(weights, grown)
    code = find_class(list(weights.shapes), path, destination.parent, find_work_tree(destination.parent))
    fields = {"framework": "torch", "factory": code.reference if code else "package.module:Name"}
    grown.fields["model"] = fields | {key: value for key, value in model.items() if key != "framework"}
    for text in code.notes if code else [_NO_CODE]:
        grown.note("model", "factory", text=text)
    if "inputs" not in grown.fields:
        guess = first_layer(weights.shapes, in_order=weights.in_order)
        names = code.arguments if code and code.arguments else ["x"]
        guessed = next((name for name in names if guess.range and re.search("id|tok|idx|index", name)), names[0])
        blank = {"dtype": "float32", "shape": ["batch", 1]}
        grown.fields["inputs"] = {name: guess.input() if name == guessed else blank for name in names}
        for name in names:
            unknown = "check: the weights do not tell its dtype and shape; this is a placeholder"
            grown.note("inputs", name, text=guess.words if name == guessed else unknown)
    _finish(grown, [])
    return grown


def _find(weights: Weights, draft: Draft) -> None:
    """Note where in the file the state dict is, and what else the file holds."""
    if weights.key:
        draft.fields["model"]["weights_key"] = weights.key
    for text in weights.notes:
        draft.note("model", "weights", text=text)


_NO_CODE = "check: no class that fits these weights was found nearby; name what makes the module, as model.py:Net"


def _finish(draft: Draft, outputs: list[TensorInfo]) -> None:
    """Add what every draft has: axes, outputs, and comments about them."""
    draft.note("inputs", text=_RANGES)
    draft.declare_axes()
    if "dynamic_axes" in draft.fields:
        draft.note("dynamic_axes", text=_GUESSED_AXES)
    for info in outputs:
        draft.note("outputs", text=f"{clean(info.name)}: {info.dtype} [{', '.join(map(str, info.shape))}]")
    names = [info.name for info in outputs]
    if set(names) & set(draft.fields["inputs"]):
        draft.note("outputs", text="check: one has an input's name; name them all anew: outputs: [a, b]")
    elif names:
        draft.fields["outputs"] = names


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


def _answers(source: Any, model: Any, file: SpecFile) -> list[TensorInfo]:
    """Return the outputs' dtypes and shapes, after runs at two sizes of every axis."""
    sizes = [choose_tracing_sizes(file.spec.axes), choose_odd_sizes(file.spec.axes)]
    runs = []
    for number, at in enumerate(sizes):
        inputs = draw(file.spec, at, number)
        try:
            runs.append(source.run(model, inputs))
        except (SourceError, SpecError):
            raise
        except Exception as error:  # a user's model may raise anything
            shapes = ", ".join(f"{key} {value.dtype.name} {value.shape}" for key, value in inputs.items())
            raise SourceError(
                f"the model fails on {shapes}: {describe_error(error, 500)}",
                "give the right dtypes and shapes with --input",
            ) from None
    infos = []
    for number, (one, other) in enumerate(zip(*runs, strict=True)):
        shape = tuple(_dimension(pair, sizes) for pair in zip(one.shape, other.shape, strict=False))
        name = f"output_{number}" if len(runs[0]) > 1 else "output"
        infos.append(TensorInfo(name, "string" if one.dtype.kind == "U" else one.dtype.name, shape))
    return infos


def _dimension(pair: tuple[int, int], sizes: list[dict[str, int]]) -> int | str:
    axes = [name for name in sizes[0] if pair == (sizes[0][name], sizes[1][name])]
    if axes:
        return axes[0]
    return pair[0] if pair[0] == pair[1] else "?"


def _columns(model: Any) -> str:
    names = getattr(model, "feature_names_in_", None)
    return "" if names is None else f": {_some(names)}"


def _some(values: Any) -> str:
    listed = np.ravel(values).tolist() if isinstance(values, np.ndarray) else list(values)
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return ", ".join(clean(value, 60) for value in listed[:_SHOWN_NAMES]) + more
