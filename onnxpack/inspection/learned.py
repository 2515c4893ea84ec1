"""What every draft is given once its model was looked into: outputs, axes, and comments about them.

All looks run in a child process, since a model's file may be hostile. Each takes a draft with the source in it, and
gives it back with the inputs and what else is known. What a build would refuse is refused there, by the same code.
"""

from collections.abc import Callable, Sequence
from typing import Any

from onnxpack.core.errors import SourceError, SpecError, describe_error
from onnxpack.core.text import clean
from onnxpack.core.values import TensorInfo
from onnxpack.data.test_inputs import Arrays, choose_odd_sizes, choose_tracing_sizes, draw
from onnxpack.inspection.draft import Draft
from onnxpack.spec.load import SpecFile

_GUESSED_AXES = "check: the sizes that the model is to be verified for and to serve; these are a guess"
_RANGES = (
    "check: which values are real ones is not known. Give an input range: [low, high] or choices: [a, b]; without "
    "them its samples are normal floats, or integers from 0 to 9"
)


def finish(draft: Draft, outputs: list[TensorInfo]) -> None:
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


def list_answers(
    source: Any, model: Any, file: SpecFile, name: Callable[[Arrays], Sequence[str]] | None = None
) -> list[TensorInfo]:
    """Return the outputs' names, dtypes and shapes, after runs at two sizes of every axis.

    ``name`` tells the names that an export would give them for some inputs; else they are numbered.
    """
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
    count = len(runs[0])
    names = name(inputs) if name else [f"output_{number}" for number in range(count)] if count > 1 else ["output"]
    infos = []
    for called, one, other in zip(names, *runs, strict=True):
        shape = tuple(_dimension(pair, sizes) for pair in zip(one.shape, other.shape, strict=False))
        infos.append(TensorInfo(called, "string" if one.dtype.kind == "U" else one.dtype.name, shape))
    return infos


def _dimension(pair: tuple[int, int], sizes: list[dict[str, int]]) -> int | str:
    axes = [name for name in sizes[0] if pair == (sizes[0][name], sizes[1][name])]
    if axes:
        return axes[0]
    return pair[0] if pair[0] == pair[1] else "?"
