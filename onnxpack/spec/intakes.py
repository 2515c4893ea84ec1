"""What the generated module does to a client's inputs before the ONNX file takes them: pictures and texts.

A picture's steps up to the last that knows pictures, and a text's tokens, are made by the training libraries' own code
in the module; the steps behind them are nodes of the ONNX file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from onnxpack.core.values import Axis, TensorInfo
from onnxpack.spec.model import Spec
from onnxpack.spec.module_steps import list_module_steps
from onnxpack.spec.served import make_served_spec
from onnxpack.spec.steps import PreprocessStep

TOKEN_FIELDS = {"ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}
"""The fields of tokenize that name the model's inputs, with the names that models usually have for these."""

_READERS = {"picture": "pillow", "text": "tokenizers"}
"""The distribution that reads what clients send, by an intake's kind."""
_LIBRARIES = {"opencv": "opencv-python-headless", "torchvision": "torchvision"}
"""The distribution of each library that a step of pictures may be like, Pillow aside."""


@dataclass(frozen=True)
class Intake:
    """A client's inputs ``taken`` (one of pictures, or texts and maybe their pairs), and the ONNX file's ``given``.

    ``taken`` are of shape [batch], of dtype ``bytes`` (a picture's file) or ``string``. ``given`` is one tensor
    [batch, height, width, channels], or those of tokens [batch, tokens]: ids first, then mask and types where the model
    takes them.
    """

    kind: Literal["picture", "text"]
    steps: tuple[PreprocessStep, ...]
    taken: tuple[TensorInfo, ...]
    given: tuple[TensorInfo, ...]

    @property
    def name(self) -> str:
        """Return the name of the first input that a client sends."""
        return self.taken[0].name


def list_intakes(spec: Spec) -> tuple[Intake, ...]:
    """Return what the module does to inputs, in the order of the steps; what does not fit is left out."""
    served = {info.name: info for info in make_served_spec(spec).input_infos}
    chains: dict[str, list[PreprocessStep]] = {}
    for index in list_module_steps(spec):
        step = spec.preprocess[index]
        chains.setdefault(step.input, []).append(step)
    found = []
    for name, steps in chains.items():
        if steps[0].op == "tokenize":
            found += _make_text_intake(steps[0], served)
        elif name in served:
            given = served[name]
            found.append(Intake("picture", tuple(steps), (TensorInfo(name, "bytes", given.shape[:1]),), (given,)))
    return tuple(found)


def _make_text_intake(step: PreprocessStep, served: dict[str, TensorInfo]) -> list[Intake]:
    given = tuple(served[name] for name in name_tokens(step).values() if name in served)
    if not given:
        return []
    rows = given[0].shape[:1]
    taken = tuple(TensorInfo(name, "string", rows) for name in (step.input, step.pair) if name)
    return [Intake("text", (step,), taken, given)]


def name_tokens(step: PreprocessStep) -> dict[str, str]:
    """Return the names of the inputs that take tokens, by ``TOKEN_FIELDS``; the model need not have all of them."""
    return {field: getattr(step, field) or usual for field, usual in TOKEN_FIELDS.items()}


def find_row_limits(intake: Intake, axes: Iterable[Axis]) -> tuple[int, int]:
    """Return the fewest and the most tokens that a row of an intake of texts has, special ones included."""
    (step,) = intake.steps
    size = intake.given[0].shape[1]
    limits = {axis.name: (axis.min, axis.max) for axis in axes}
    least, most = limits[size] if isinstance(size, str) else (size, size)
    return least, min(step.max_length or most, most)


def list_client_inputs(spec: Spec) -> tuple[TensorInfo, ...]:
    """Return the inputs that a client of the image sends: the ONNX file's, but for those that an intake makes."""
    return replace_given(list_intakes(spec), make_served_spec(spec).input_infos)


def replace_given(intakes: Iterable[Intake], infos: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Return the inputs of an ONNX file as a client sends them: what an intake takes stands for all that it gives."""
    by_given = {info.name: intake for intake in intakes for info in intake.given}
    found: dict[str, TensorInfo] = {}
    for info in infos:
        taken = by_given[info.name].taken if info.name in by_given else (info,)
        found |= {one.name: one for one in taken}
    return tuple(found.values())


def replace_taken(intakes: Iterable[Intake], infos: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Return a client's inputs as the ONNX file takes them: the inverse of ``replace_given`` but for the order."""
    by_taken = {info.name: intake for intake in intakes for info in intake.taken}
    found: dict[str, TensorInfo] = {}
    for info in infos:
        given = by_taken[info.name].given if info.name in by_taken else (info,)
        found |= {one.name: one for one in given}
    return tuple(found.values())


def list_client_axes(spec: Spec) -> tuple[Axis, ...]:
    """Return the dynamic axes of the inputs that a client of the image sends."""
    used = {size for info in list_client_inputs(spec) for size in info.shape}
    return tuple(axis for axis in make_served_spec(spec).axes if axis.name in used)


def drop_module_steps(spec: Spec) -> Spec:
    """Return the spec without the steps that the module does: its client sends what the ONNX file takes."""
    gone = set(list_module_steps(spec))
    return replace(spec, preprocess=tuple(step for index, step in enumerate(spec.preprocess) if index not in gone))


def list_intake_packages(spec: Spec) -> tuple[str, ...]:
    """Return the distributions that read pictures and texts as training does, where the source model is exported."""
    found = set()
    for intake in list_intakes(spec):
        found.add(_READERS[intake.kind])
        found |= {_LIBRARIES[step.like] for step in intake.steps if step.like in _LIBRARIES}
    return tuple(sorted(found))
