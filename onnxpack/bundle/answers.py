"""What a model's outputs mean to a person: words for classes, and pairs of the best values with what they are of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onnxpack.core.values import TensorInfo
from onnxpack.spec.load import SpecFile
from onnxpack.spec.output_names import list_step_outputs
from onnxpack.spec.steps import PostprocessStep
from onnxpack.transforms.outputs import read_labels

_SAME_PLACES = ("softmax", "sigmoid", "scale", "round", "threshold")
"""The operations whose results have a value for each class where their inputs have one."""


@dataclass(frozen=True)
class Pair:
    """Two outputs that belong together, the best ``values`` and their ``places``, under one name of both.

    ``word`` is what an answer calls a place: ``label``, or ``index`` where it is a number.
    """

    name: str
    values: str
    places: str
    word: str


@dataclass(frozen=True)
class Answers:
    """What outputs mean; ``classes`` has the words for the last axis of some."""

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()

    def list_names(self, outputs: Iterable[str]) -> list[str]:
        """Return the names in an answer, in the order of the outputs: a pair is in the place of its values."""
        names = {pair.values: pair.name for pair in self.pairs}
        hidden = {pair.places for pair in self.pairs}
        return [names.get(name, name) for name in outputs if name not in hidden]


def find_answers(file: SpecFile, outputs: tuple[TensorInfo, ...], own: tuple[str, ...] = ()) -> Answers:
    """Return what the outputs of a client mean, as far as the spec, or the model with its ``own`` classes, says so.

    Raises:
        SpecError: a file of labels cannot be read.
    """
    story = _Story()
    for step in file.spec.postprocess:
        story.add(step, read_labels(file, step))
    infos = {info.name: info for info in outputs}
    classes = {
        name: words
        for name, info in infos.items()
        if (words := story.words.get(story.find_origin(name))) and _fits(info, words)
    }
    known = file.spec.evaluation.classes if file.spec.evaluation else None
    words = tuple(map(str, known or own))
    scores = [name for name, info in infos.items() if info.dtype.startswith("float") and _fits(info, words)]
    if len(scores) == 1:
        classes.setdefault(scores[0], words)
    pairs = tuple(pair for pair in story.pairs if _are_rows(infos, pair))
    return Answers(classes, pairs)


def _fits(info: TensorInfo, words: tuple[str, ...]) -> bool:
    """Return whether an output has, row by row, a value for each of some words, none of which is there twice."""
    return bool(words) and len(info.shape) == 2 and info.shape[1] == len(words) == len(set(words))


def _are_rows(infos: Mapping[str, TensorInfo], pair: Pair) -> bool:
    return all(name in infos and len(infos[name].shape) == 2 for name in (pair.values, pair.places))


class _Story:
    """What becomes of outputs, step by step."""

    def __init__(self) -> None:
        self.words: dict[str, tuple[str, ...]] = {}
        """For each output that scores come from, the words for its classes."""
        self.pairs: list[Pair] = []
        self._origins: dict[str, str] = {}

    def find_origin(self, name: str) -> str:
        """Return the output whose classes another one has."""
        return self._origins.get(name, name)

    def add(self, step: PostprocessStep, labels: tuple[str, ...]) -> None:
        """Take a step into account; ``labels`` are those that it names."""
        given = list_step_outputs(step)
        origin = self.find_origin(step.input)
        if labels and step.op in ("labels", "topk"):
            self.words.setdefault(origin, labels)
        if step.op == "topk":
            values, places = given
            self.pairs.append(Pair(step.output or step.input, values, places, "label" if labels else "index"))
        elif step.op == "labels":
            self.pairs = [
                Pair(pair.name, pair.values, given[0], "label") if pair.places == step.input else pair
                for pair in self.pairs
            ]
        for name in given:
            self._origins[name] = origin if step.op in (*_SAME_PLACES, "argmax") else name
