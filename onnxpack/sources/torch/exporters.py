"""PyTorch: call its two exporters, each as one function from a module to a file."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from onnxpack.core.errors import OnnxpackError, Problem, SourceError
from onnxpack.data.test_inputs import Arrays, choose_odd_sizes, draw, resolve_shape
from onnxpack.graph.finalize import make_count_error
from onnxpack.sources.torch.branches import Loops, Place, Watch
from onnxpack.sources.torch.failure import explain, show_line
from onnxpack.sources.torch.values import Flat, to_tensors
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET
from onnxpack.spec.traits import frameworks

_BRANCH = (
    "the torchscript exporter would freeze a branch or value that depends on the inputs; {}",
    "use tensor operations such as torch.where(condition, a, b), or put the branch or loop into a function with "
    "@torch.jit.script; the dynamo exporter takes torch.cond",
)
_LOOP = (
    "the torchscript exporter would freeze the number of steps of a loop over a tensor; {}",
    "use operations on the whole tensor, or put the loop into a function with @torch.jit.script",
)
TORCHSCRIPT_MAX_OPSET = frameworks()["torch"].exporter_opsets["torchscript"]
Name = Literal["dynamo", "torchscript"]


@dataclass(frozen=True)
class ExportJob:
    """One export of ``flat`` as the spec asks: inputs to trace it with, its number of outputs, the file to write."""

    flat: Flat
    file: SpecFile
    example: Arrays
    count: int
    destination: Path


class BranchError(SourceError):
    """TorchScript's trace would fix what depends on data."""


def run_exporter(name: Name, job: ExportJob) -> None:
    """Export at the spec's opset.

    Raises:
        BranchError: TorchScript would fix a branch or loop that depends on data to the traced inputs.
        SourceError: the exporter fails, or gives another opset than the spec asks for.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own; what counts is watched, or checked on the result
            _EXPORTERS[name](job)
    except OnnxpackError:
        raise
    except Exception as error:  # both exporters raise whatever their passes meet
        raise explain(error, job.file, name) from None


def _dynamo(job: ExportJob) -> None:
    spec = job.file.spec
    program = torch.onnx.export(
        job.flat,
        to_tensors(job.example),
        dynamo=True,
        opset_version=spec.opset or DEFAULT_OPSET,
        output_names=_graph_names(job.count),
        dynamic_shapes=(tuple(_axes(tensor.shape) for tensor in spec.inputs.values()),),  # one for forward's *tensors
        verbose=False,
    )
    assert program is not None
    actual = program.model.opset_imports[""]
    if spec.opset is not None and actual != spec.opset:  # a conversion that fails leaves no more than a log line
        raise SourceError(f"opset {spec.opset} cannot be had: the export has {actual}", f"set `opset: {actual}`")
    _name_inputs(program.model.graph, list(spec.inputs))
    _mend_splits(program.model)
    program.save(str(job.destination))


def _name_inputs(graph: Any, names: list[str]) -> None:
    """Name the inputs of an ``onnx_ir`` graph; a value inside that has one of these names is renamed."""
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for value in inner:
        if value.name in names:
            value.name = f"{value.name}__inner"
    for value, name in zip(graph.inputs, names, strict=False):
        value.name = name


def _mend_splits(model: Any) -> None:
    """Remove an attribute that came with opset 18 and that the conversion to a lower one leaves behind.

    Without it a Split has always made equal parts, one for each output.
    """
    if model.opset_imports[""] < 18:
        for node in model.graph.all_nodes():
            if node.op_type == "Split" and node.domain in ("", "ai.onnx"):
                node.attributes.pop("num_outputs", None)


def _torchscript(job: ExportJob) -> None:
    flat, inputs, tensors = job.flat, job.file.spec.inputs, to_tensors(job.example)
    given: list[int] = []
    watch = Watch()
    hooks = [
        flat.register_forward_pre_hook(lambda _, traced: watch.mark_inputs(traced)),
        flat.register_forward_hook(lambda *seen: given.append(len(seen[-1]))),
    ]
    try:
        with watch:
            torch.onnx.export(
                # The exporter's own trace cannot enter a ScriptModule; this one calls it, with its branches and loops.
                torch.jit.trace(flat, tensors, check_trace=False) if has_torchscript(flat) else flat,  # type: ignore[no-untyped-call]
                tensors,
                str(job.destination),
                dynamo=False,
                opset_version=job.file.spec.opset or DEFAULT_OPSET,
                input_names=list(inputs),
                output_names=_graph_names(job.count),
                dynamic_axes={name: _axes(tensor.shape) for name, tensor in inputs.items()},
            )
    except Exception:
        _require_no_decisions(watch, job)
        if given and given[-1] < job.count:  # it has names for outputs that are not there when the model is traced
            raise make_count_error(job.count, given[-1]) from None
        raise
    finally:
        for hook in hooks:
            hook.remove()
    _require_no_decisions(watch, job)


def _require_no_decisions(watch: Watch, job: ExportJob) -> None:
    found = [(_BRANCH, one) for one in watch.decisions] + [(_LOOP, one) for one in _find_changing_loops(watch, job)]
    if found:
        texts = {message.format(show_line(job.file, places)): hint for (message, hint), places in found}
        raise BranchError([Problem(message, hint) for message, hint in texts.items()])


def _find_changing_loops(watch: Watch, job: ExportJob) -> list[tuple[Place, ...]]:
    """Find the loops over tensors that make another number of steps at other sizes of the axes."""
    at = choose_odd_sizes(job.file.spec.axes)
    changed = any(resolve_shape(tensor, at) != job.example[name].shape for name, tensor in job.file.spec.inputs.items())
    if not watch.steps or not changed:
        return []
    with torch.no_grad(), Loops() as loops:
        job.flat(*to_tensors(draw(job.file.spec, at, 1)))
    # By the innermost line, as the frames above it differ between the trace and this run.
    ends = {places[-1]: steps for places, steps in loops.steps.items()}
    return [places for places, steps in watch.steps.items() if ends.get(places[-1], steps) != steps]


_EXPORTERS: Mapping[Name, Callable[[ExportJob], None]] = {"dynamo": _dynamo, "torchscript": _torchscript}


def has_torchscript(module: torch.nn.Module) -> bool:
    """Return whether a part of the module was scripted, or loaded as TorchScript; dynamo reads no such part."""
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def _axes(shape: Sequence[int | str]) -> dict[int, str]:
    return {index: size for index, size in enumerate(shape) if isinstance(size, str)}


def _graph_names(count: int) -> list[str]:
    # A name of the spec may be taken inside the graph, which dynamo does not notice: outputs are renamed afterwards.
    return [f"onnxpack.output.{index}" for index in range(count)]
