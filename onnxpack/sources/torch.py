"""PyTorch: a factory's ``nn.Module`` with its weights, exported by dynamo or TorchScript."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxpack.errors import Problem, SourceError
from onnxpack.samples import Arrays
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET
from onnxpack.user_code import attribute, called

_SHOWN_KEYS = 8
_BY_HAND = "call it with the spec's kwargs by hand"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def load(file: SpecFile) -> torch.nn.Module:
    """The factory's module with its weights, prepared, in eval mode."""
    model = file.spec.model
    assert model.factory
    module: torch.nn.Module = called(attribute(file, model.factory), model.factory, _BY_HAND, **model.kwargs)
    _require_module(module, model.factory)
    if model.weights:
        _fill(module, _state_dict(file.resolve(model.weights), model.weights_key), model.weights)
    module.eval()
    if model.prepare:
        module = called(attribute(file, model.prepare), model.prepare, _BY_HAND, module)
        _require_module(module, model.prepare)
        module.eval()
    module.requires_grad_(False)
    return module


def run(model: torch.nn.Module, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """The outputs of the forward pass, nested ones flattened in order."""
    with torch.no_grad():
        return [_to_numpy(tensor) for tensor in _flat(model(*_tensors(inputs)))]


def export(model: torch.nn.Module, file: SpecFile, example: Arrays, count: int, destination: Path) -> Sequence[str]:
    """Exports by the spec's exporter, at its opset; the opset that came out is checked by the caller."""
    # A name of the spec may be taken inside the graph, which dynamo does not notice: outputs are renamed afterwards.
    names = [f"onnxpack.output.{index}" for index in range(count)]
    opset = file.spec.opset or DEFAULT_OPSET
    exporter = {"dynamo": _dynamo, "torchscript": _torchscript}[file.spec.model.exporter]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own; what counts is checked on the result
            exporter(model, file, _tensors(example), names, opset, destination)
    except Exception as error:  # both exporters raise whatever their passes meet
        other = "torchscript" if file.spec.model.exporter == "dynamo" else "dynamo"
        raise SourceError(
            f"the {file.spec.model.exporter} exporter failed: {_first_line(error)}",
            f"the cause is below; `exporter: {other}` may take this model",
            _COLOURS.sub("", str(error))[-4000:],
        ) from None
    return [f"output_{index}" if count > 1 else "output" for index in range(count)]


def _dynamo(
    model: torch.nn.Module,
    file: SpecFile,
    tensors: tuple[torch.Tensor, ...],
    names: list[str],
    opset: int,
    destination: Path,
) -> None:
    inputs = file.spec.inputs
    shapes = tuple(
        {index: size for index, size in enumerate(tensor.shape) if isinstance(size, str)} for tensor in inputs.values()
    )
    program = torch.onnx.export(
        model,
        tensors,
        dynamo=True,
        opset_version=opset,
        output_names=names,
        dynamic_shapes=shapes,
        verbose=False,
    )
    assert program is not None
    _name_inputs(program.model.graph, list(inputs))
    program.save(str(destination))


def _name_inputs(graph: Any, names: list[str]) -> None:
    """Names the inputs of an ``onnx_ir`` graph; what has one of these names inside gets another."""
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for value in inner:
        if value.name in names:
            value.name = f"{value.name}__inner"
    for value, name in zip(graph.inputs, names, strict=False):
        value.name = name


def _torchscript(
    model: torch.nn.Module,
    file: SpecFile,
    tensors: tuple[torch.Tensor, ...],
    names: list[str],
    opset: int,
    destination: Path,
) -> None:
    inputs = file.spec.inputs
    torch.onnx.export(
        model,
        tensors,
        str(destination),
        dynamo=False,
        opset_version=opset,
        input_names=list(inputs),
        output_names=names,
        dynamic_axes={
            name: {index: size for index, size in enumerate(tensor.shape) if isinstance(size, str)}
            for name, tensor in inputs.items()
        },
    )


def _require_module(value: Any, reference: str) -> None:
    if not isinstance(value, torch.nn.Module):
        raise SourceError(f"{reference} gave a {type(value).__name__}", "it must give a torch.nn.Module")


def _state_dict(path: Path, key: str | None) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torn zip, hostile pickle, wrong header: each has its own kind
        raise SourceError(
            f"cannot load the weights in '{path.name}': {_first_line(error)}",
            "it must be a safetensors file, or a state dict saved by torch.save",
        ) from None
    for part in _key_parts(content, key):
        if not isinstance(content, Mapping) or part not in content:
            known = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
            raise SourceError(f"'{path.name}' has no key '{key}'", f"at '{part}' it has: {known[:300]}")
        content = content[part]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        words = ", ".join(map(str, content))[:300] if isinstance(content, Mapping) else type(content).__name__
        raise SourceError(f"'{path.name}' is not a state dict here: {words}", "name the right key in weights_key")
    return dict(content)


def _key_parts(content: Any, key: str | None) -> list[str]:
    if key is None:
        return []
    return [key] if isinstance(content, Mapping) and key in content else key.split(".")


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor], label: str) -> None:
    own = module.state_dict()
    wrong = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    lists = {
        "missing in the file": [key for key in own if key not in state],
        "not in the model": [key for key in state if key not in own],
        "of another shape": wrong,
    }
    problems = [
        Problem(f"'{label}' does not fit the model: {len(keys)} tensors are {words}: {_some(keys)}",
                "check factory, kwargs and weights_key")
        for words, keys in lists.items()
        if keys
    ]  # fmt: skip
    if problems:
        raise SourceError(problems)
    module.load_state_dict(state)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return "; ".join(keys[:_SHOWN_KEYS]) + more


def _tensors(inputs: Arrays) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values())


def _flat(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        raise SourceError(
            f"the model gives a {type(value).__name__}", "outputs must be tensors, or lists, tuples, dicts of them"
        )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _first_line(error: Exception) -> str:
    return (_COLOURS.sub("", str(error)).strip().splitlines() or [""])[0] or type(error).__name__
