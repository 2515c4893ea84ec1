"""PyTorch: pass a spec's inputs to ``forward``, and flatten its answer to a list with stable names."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.sources import nested
from onnxpack.sources.nested import name_outputs

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
        """Take the spec's inputs in order; return the outputs as ``flatten_outputs`` flattens them."""
        return tuple(tensor for _, tensor in flatten_outputs(self.answer(*tensors)))

    def answer(self, *tensors: torch.Tensor) -> Any:
        """Return the outputs as the module itself gives them."""
        if self.keywords is None:
            return self.source(*tensors)
        return self.source(**dict(zip(self.keywords, tensors, strict=True)))


def strip_flat_path(path: str) -> str:
    """Return a module's path in the model itself, from its path in the ``Flat`` around it."""
    return path.removeprefix("source").removeprefix(".")


def by_keyword(module: torch.nn.Module, names: Sequence[str]) -> bool:
    """Return whether the inputs go by name: all are parameters of ``forward``, but not its first ones in order."""
    parameters = _parameters(module)
    if parameters is None:
        return False
    named = [one.name for one in parameters if one.kind in _NAMED]
    positional = [one.name for one in parameters if one.kind == _NAMED[0]]
    return set(names) <= set(named) and list(names) != positional[: len(names)]


def require_fit(module: torch.nn.Module, names: Sequence[str]) -> None:
    """Require that ``forward`` can take the inputs.

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
            "name the inputs as forward's parameters, or list as many as it takes, in its order",
        ) from None
    except ValueError:  # optional parameters before others, which TorchScript has: only the run itself can tell
        return


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter] | None:
    """Return the parameters of ``forward`` without ``self``; None where they cannot be known."""
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


def list_output_names(answer: Any, taken: Sequence[str]) -> list[str]:
    """Return a name for each output, as ``name_outputs`` makes it; ``taken`` are names that no output may have."""
    return name_outputs([path for path, _ in flatten_outputs(answer)], taken)


def flatten_outputs(value: Any) -> Iterator[tuple[nested.Path, torch.Tensor]]:
    """Yield the tensors in a model's answer, in order, each with its keys, fields and positions."""
    return nested.flatten_outputs(value, torch.Tensor)


def to_tensors(inputs: Arrays) -> tuple[torch.Tensor, ...]:
    """Return the inputs as tensors, in order."""
    # reshape: ascontiguousarray makes a scalar one-dimensional.
    return tuple(torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)) for array in inputs.values())


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the tensor's values; bfloat16, which numpy lacks, becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
