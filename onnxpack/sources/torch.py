"""PyTorch: an ``nn.Module`` from a factory with its weights, or from one file, exported by dynamo or TorchScript."""

import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from onnxpack.errors import OnnxpackError, SourceError
from onnxpack.graph.finish import other_count
from onnxpack.samples import Arrays, draw, odd_sizes, tracing_sizes
from onnxpack.sources.torch_code import made
from onnxpack.sources.torch_failure import explained
from onnxpack.sources.torch_file import whole_model
from onnxpack.sources.torch_values import Flat, output_names, require_fit, to_numpy, to_tensors
from onnxpack.sources.torch_weights import fill
from onnxpack.spec.checks import TORCHSCRIPT_MAX_OPSET
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET
from onnxpack.spec.part import SpecPart
from onnxpack.verify import TOLERANCES
from onnxpack.worker import Say, Task
from onnxpack.worker.call import Setting, call

_TRIAL_SECONDS = 120.0
_SHOWN_MODULES = 5
Tensors = tuple[torch.Tensor, ...]
_Exporter = Literal["dynamo", "torchscript"]


def load(file: SpecFile) -> torch.nn.Module:
    """The module with its weights, prepared, in eval mode."""
    model = file.spec.model
    if model.path:
        module = whole_model(file)
    else:
        assert model.factory
        module = made(file, model.factory, **model.kwargs)
        if model.weights:
            fill(module, file)
    module.eval()
    if model.prepare:
        module = made(file, model.prepare, module)
        module.eval()
    _require_rest(module)
    if _has_torchscript(module) and model.exporter == "dynamo":
        raise SourceError("the dynamo exporter cannot read TorchScript", "write exporter: torchscript")
    strings = [name for name, tensor in file.spec.inputs.items() if tensor.dtype == "string"]
    if strings:
        raise SourceError(f"input '{strings[0]}': torch has no strings", "give it numbers, as a tokenizer makes them")
    require_fit(module, list(file.spec.inputs))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _require_rest(module: torch.nn.Module) -> None:
    """Dropout and batch norm behave as in training wherever ``eval`` did not reach."""
    awake = [name or type(part).__name__ for name, part in module.named_modules() if getattr(part, "training", False)]
    if awake:
        more = f" and {len(awake) - _SHOWN_MODULES} more" if len(awake) > _SHOWN_MODULES else ""
        raise SourceError(
            f"after eval() these are still in training mode: {', '.join(awake[:_SHOWN_MODULES])}{more}",
            "a train() of your own must pass the mode on and give self",
        )


def _has_torchscript(module: torch.nn.Module) -> bool:
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def run(model: torch.nn.Module, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """The outputs of the forward pass, nested ones flattened in order."""
    with torch.no_grad():
        return [to_numpy(tensor) for tensor in Flat(model, list(inputs)).eval()(*to_tensors(inputs))]


def export(model: torch.nn.Module, file: SpecFile, example: Arrays, count: int, destination: Path) -> Sequence[str]:
    """Exports by the spec's exporter, at its opset; the opset that came out is checked by the caller."""
    tensors = to_tensors(example)
    flat = Flat(model, list(example)).eval()
    with torch.no_grad():
        names = output_names(flat.answer(*tensors), list(example))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own; what counts is checked on the result
            _EXPORTERS[file.spec.model.exporter](flat, file, tensors, count, destination)
    except OnnxpackError:
        raise
    except Exception as error:  # both exporters raise whatever their passes meet
        raise explained(error, file, _trial(file)) from None
    return names


def _dynamo(flat: Flat, file: SpecFile, tensors: Tensors, count: int, destination: Path) -> None:
    inputs = file.spec.inputs
    program = torch.onnx.export(
        flat,
        tensors,
        dynamo=True,
        opset_version=file.spec.opset or DEFAULT_OPSET,
        output_names=_graph_names(count),
        dynamic_shapes=(tuple(_axes(tensor.shape) for tensor in inputs.values()),),  # one for forward's *tensors
        verbose=False,
    )
    assert program is not None
    _name_inputs(program.model.graph, list(inputs))
    _mend_splits(program.model)
    program.save(str(destination))


def _name_inputs(graph: Any, names: list[str]) -> None:
    """Names the inputs of an ``onnx_ir`` graph; what has one of these names inside gets another."""
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for value in inner:
        if value.name in names:
            value.name = f"{value.name}__inner"
    for value, name in zip(graph.inputs, names, strict=False):
        value.name = name


def _mend_splits(model: Any) -> None:
    """Removes an attribute that came with opset 18 and that the conversion to a lower one leaves behind.

    Without it a Split has always made equal parts, one for each output.
    """
    if model.opset_imports[""] < 18:
        for node in model.graph.all_nodes():
            if node.op_type == "Split" and node.domain in ("", "ai.onnx"):
                node.attributes.pop("num_outputs", None)


def _torchscript(flat: Flat, file: SpecFile, tensors: Tensors, count: int, destination: Path) -> None:
    inputs = file.spec.inputs
    scripted = _has_torchscript(flat)
    given: list[int] = []
    flat.register_forward_hook(lambda *seen: given.append(len(seen[-1])))
    try:
        torch.onnx.export(
            # The exporter's own trace cannot enter a ScriptModule; this one calls it, with its branches and loops.
            torch.jit.trace(flat, tensors, check_trace=False) if scripted else flat,  # type: ignore[no-untyped-call]
            tensors,
            str(destination),
            dynamo=False,
            opset_version=file.spec.opset or DEFAULT_OPSET,
            input_names=list(inputs),
            output_names=_graph_names(count),
            dynamic_axes={name: _axes(tensor.shape) for name, tensor in inputs.items()},
        )
    except Exception:
        if given and given[-1] < count:  # it has names for outputs that are not there when the model is traced
            raise other_count(count, given[-1]) from None
        raise


_EXPORTERS: Mapping[str, Callable[[Flat, SpecFile, Tensors, int, Path], None]] = {
    "dynamo": _dynamo,
    "torchscript": _torchscript,
}


def _axes(shape: Sequence[int | str]) -> dict[int, str]:
    return {index: size for index, size in enumerate(shape) if isinstance(size, str)}


def _graph_names(count: int) -> list[str]:
    # A name of the spec may be taken inside the graph, which dynamo does not notice: outputs are renamed afterwards.
    return [f"onnxpack.output.{index}" for index in range(count)]


def _trial(file: SpecFile) -> str:
    """What the other exporter makes of the model, tried in a process of its own."""
    other: _Exporter = "torchscript" if file.spec.model.exporter == "dynamo" else "dynamo"
    if other == "torchscript" and (file.spec.opset or 0) > TORCHSCRIPT_MAX_OPSET:
        return f"`exporter: torchscript` makes opset {TORCHSCRIPT_MAX_OPSET} at most"
    model = dataclasses.replace(file.spec.model, exporter=other)
    changed = dataclasses.replace(file, spec=dataclasses.replace(file.spec, model=model))
    with tempfile.TemporaryDirectory(prefix="onnxpack-") as scratch:
        setting = Setting(Path(scratch), within=_TRIAL_SECONDS)
        try:
            opset = call(TryExporter(SpecPart(changed)), setting).result
        except OnnxpackError as error:
            return f"`exporter: {other}` was tried, and fails too: {error.problems[0].message}"
    return f"write `exporter: {other}`: it was tried, takes this model, and gives the same answers, at opset {opset}"


@dataclasses.dataclass(frozen=True)
class TryExporter(Task[int]):
    """Export by the spec's exporter and compare; the result is the opset that came out."""

    NAME = "exporter trial"
    spec: SpecPart

    def run(self, folder: Path, say: Say) -> int:
        """Try it."""
        return exporter_trial(self.spec.file, folder / "model.onnx")


def exporter_trial(file: SpecFile, place: Path) -> int:
    """Exports, and compares at the traced sizes and at others. The opset that came out.

    Raises:
        SourceError: it does not work.
    """
    from onnxpack.graph.check import facts, session

    module = load(file)
    example = draw(file.spec, tracing_sizes(file.spec.axes), 0)
    flat = Flat(module, list(example)).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exporter = _EXPORTERS[file.spec.model.exporter]
            exporter(flat, file, to_tensors(example), len(run(module, example)), place)
    except OnnxpackError:
        raise
    except Exception as error:  # as in ``export``
        raise explained(error, file, "") from None
    running, (rtol, atol) = session(place), TOLERANCES["float32"]
    # Each size twice: a branch that depends on the data is fixed to the side that the traced inputs took.
    for number, at in enumerate([tracing_sizes(file.spec.axes), odd_sizes(file.spec.axes)] * 2):
        inputs = draw(file.spec, at, number)
        expected, answers = run(module, inputs), running.run(None, inputs)
        same = [
            np.shape(one) == np.shape(other) and np.allclose(one, other, rtol, atol, equal_nan=True)
            for one, other in zip(expected, answers, strict=False)
        ]
        if len(expected) != len(answers) or not all(same):
            sizes = ", ".join(f"{name} {size}" for name, size in at.items()) or "the same sizes"
            raise SourceError(
                f"its export answers otherwise at {sizes}", "the model depends on what it was traced with"
            )
    return facts(place).opset
