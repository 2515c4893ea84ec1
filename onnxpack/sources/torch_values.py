"""PyTorch: how a spec's inputs reach ``forward``, and how what it gives becomes a flat list with stable names."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from onnxpack.errors import SourceError
from onnxpack.samples import Arrays

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_NAME = 150
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Flat(torch.nn.Module):
    """A module as the exporters take it: inputs by position in the spec's order, outputs a tuple of tensors.

    Both exporters see the same, whatever the module's own arguments and outputs are.
    """

    def __init__(self, source: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.source = source
        self.keywords = tuple(names) if by_keyword(source, names) else None

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``tensors`` as the spec's inputs are; the outputs as ``leaves`` gives them."""
        return tuple(tensor for _, tensor in leaves(self.answer(*tensors)))

    def answer(self, *tensors: torch.Tensor) -> Any:
        """The outputs as the module itself gives them."""
        if self.keywords is None:
            return self.source(*tensors)
        return self.source(**dict(zip(self.keywords, tensors, strict=True)))


def own_path(path: str) -> str:
    """A module's path in the model itself, from its path in the ``Flat`` around it."""
    return path.removeprefix("source").removeprefix(".")


def by_keyword(module: torch.nn.Module, names: Sequence[str]) -> bool:
    """Whether the inputs go by name: all are parameters of ``forward``, and are not its first ones in order."""
    parameters = _parameters(module)
    if parameters is None:
        return False
    named = [one.name for one in parameters if one.kind in _NAMED]
    positional = [one.name for one in parameters if one.kind == _NAMED[0]]
    return set(names) <= set(named) and list(names) != positional[: len(names)]


def require_fit(module: torch.nn.Module, names: Sequence[str]) -> None:
    """Makes sure that ``forward`` can take the inputs.

    Raises:
        SourceError: too many, too few, or by names that it does not have.
    """
    parameters = _parameters(module)
    if parameters is None or not names:
        return
    try:
        signature = inspect.Signature(parameters)
        if by_keyword(module, names):
            signature.bind(**dict.fromkeys(names))
        else:
            signature.bind(*names)
    except TypeError as error:
        takes = ", ".join(f"{one.name}=…" if one.default is not one.empty else one.name for one in parameters)
        raise SourceError(
            f"forward takes ({takes}); the spec's inputs are {', '.join(names)}: {error}",
            "inputs go by name if all are parameters of forward, else by position",
        ) from None
    except ValueError:  # optional parameters before others, which TorchScript has: only the run itself can tell
        return


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter] | None:
    """Those of ``forward`` without ``self``; None where they cannot be known."""
    try:
        if isinstance(module, torch.jit.ScriptModule):
            arguments = cast(Any, module.forward).schema.arguments[1:]
            empty = inspect.Parameter.empty
            return [
                inspect.Parameter(one.name, _NAMED[0], default=one.default_value if one.has_default_value() else empty)
                for one in arguments
            ]
        return list(inspect.signature(module.forward).parameters.values())
    except (ValueError, TypeError, AttributeError, RuntimeError):
        return None


def output_names(answer: Any, taken: Sequence[str]) -> list[str]:
    """A name for each output: keys and fields joined by dots; what has only a position is called ``output``.

    ``taken`` are names that no output may have.
    """
    paths = [path for path, _ in leaves(answer)]
    names: list[str] = []
    for path in paths:
        unnamed = all(isinstance(part, int) for part in path)
        if unnamed and len(paths) == 1:
            name = "output"
        else:
            head = f"output_{path[0]}" if isinstance(path[0], int) else path[0]
            name = ".".join(map(str, (head, *path[1:])))
        names.append(_free(_UNPRINTABLE.sub("_", name)[:_MAX_NAME] or "output", {*names, *taken}))
    return names


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], torch.Tensor]]:
    """The tensors in what a model gave, in order, each with its keys, fields and positions; None is left out.

    Raises:
        SourceError: there is something else in it.
    """
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for part, item in _parts(value, path):
        yield from leaves(item, (*path, part))


def _parts(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):  # transformers' ModelOutput is one, which leaves out what is None
        return [(str(key), item) for key, item in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    place = f" at '{'.'.join(map(str, path))}'" if path else ""
    raise SourceError(
        f"the model gives a {type(value).__name__}{place}",
        "outputs must be tensors, or lists, tuples, dicts and dataclasses of them: turn it off in kwargs, or drop it "
        "in a prepare function",
    )


def to_tensors(inputs: Arrays) -> tuple[torch.Tensor, ...]:
    """The inputs as tensors, in order."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)) for array in inputs.values())


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The values; numpy has no bfloat16, which becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
