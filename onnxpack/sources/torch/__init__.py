"""PyTorch: an ``nn.Module`` from a factory with its weights, or from one file, exported by dynamo or TorchScript."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxpack.core.errors import OnnxpackError, Problem, SourceError
from onnxpack.data.test_inputs import Arrays, choose_tracing_sizes, draw
from onnxpack.sources import Export, load_source
from onnxpack.sources.torch.choice import choose_exporter, find_difference
from onnxpack.sources.torch.code import make_module
from onnxpack.sources.torch.exporters import BranchError, ExportJob, Name, has_torchscript, run_exporter
from onnxpack.sources.torch.file import load_whole_model
from onnxpack.sources.torch.seeds import require_weights
from onnxpack.sources.torch.values import Flat, list_output_names, require_fit, to_numpy, to_tensors
from onnxpack.sources.torch.weights import load_weights
from onnxpack.spec.load import SpecFile
from onnxpack.spec.part import SpecPart
from onnxpack.spec.traits import FrameworkTraits
from onnxpack.worker import Say, Task
from onnxpack.worker.call import call_alone

TRAITS = FrameworkTraits(
    fields=("factory", "kwargs", "weights", "weights_key", "prepare", "exporter", "path", "sha256"),
    endings=(".pt", ".pth", ".pt2"),
    weights_endings=(".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".index.json"),
    packages=(
        "torch", "torchvision", "torchaudio", "timm", "transformers", "sentence_transformers", "diffusers",
        "pytorch_lightning", "lightning", "safetensors",
    ),
    exporter_opsets={"torchscript": 20},
)  # fmt: skip

__all__ = ["export", "load", "name_answers", "require_weights", "run", "try_exporter"]

_TRIAL_SECONDS = 120.0
_SHOWN_MODULES = 5


def load(file: SpecFile) -> torch.nn.Module:
    """Load the module with its weights, prepared, in eval mode."""
    model = file.spec.model
    if model.path:
        module = load_whole_model(file)
    else:
        assert model.factory
        module = make_module(file, model.factory, **model.kwargs)
        if model.weights_file:
            load_weights(module, file)
    module.eval()
    if model.prepare:
        module = make_module(file, model.prepare, module)
        module.eval()
    _require_rest(module)
    if has_torchscript(module) and model.exporter == "dynamo":
        raise SourceError(
            "the dynamo exporter cannot read TorchScript", "set `exporter: torchscript`, or leave `exporter` out"
        )
    strings = [name for name, tensor in file.spec.inputs.items() if tensor.dtype == "string"]
    if strings:
        raise SourceError(
            f"input '{strings[0]}': torch has no strings",
            "take numbers instead, such as the ids that a tokenizer makes",
        )
    require_fit(module, list(file.spec.inputs))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _require_rest(module: torch.nn.Module) -> None:
    """Require that no part is in training mode, where dropout and batch norm behave otherwise."""
    awake = [name or type(part).__name__ for name, part in module.named_modules() if getattr(part, "training", False)]
    if awake:
        more = f" and {len(awake) - _SHOWN_MODULES} more" if len(awake) > _SHOWN_MODULES else ""
        raise SourceError(
            f"after eval() these are still in training mode: {', '.join(awake[:_SHOWN_MODULES])}{more}",
            "if the module overrides train(), let it call super().train(mode) and return self",
        )


def run(model: torch.nn.Module, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """Return the outputs of the forward pass, nested ones flattened in order."""
    with torch.no_grad():
        return [to_numpy(tensor) for tensor in Flat(model, list(inputs)).eval()(*to_tensors(inputs))]


def name_answers(model: torch.nn.Module, inputs: Arrays) -> tuple[str, ...]:
    """Return the names that an export gives the outputs where the spec has none."""
    with torch.no_grad():
        answer = Flat(model, list(inputs)).eval().answer(*to_tensors(inputs))
    return tuple(list_output_names(answer, list(inputs)))


def export(model: torch.nn.Module, file: SpecFile, example: Arrays, count: int, destination: Path) -> Export:
    """Export by the spec's exporter, or by the one that takes the model, at the spec's opset."""
    flat, names = Flat(model, list(example)).eval(), name_answers(model, example)
    job, asked = ExportJob(flat, file, example, count, destination), file.spec.model.exporter
    if asked is None:
        return Export(names, *choose_exporter(job))
    try:
        run_exporter(asked, job)
    except BranchError:
        raise
    except SourceError as error:
        (problem,) = error.problems
        raise SourceError(dataclasses.replace(problem, hint=_trial(file, asked))) from None
    return Export(names, asked)


def _trial(file: SpecFile, asked: Name) -> str:
    """Try the other exporter in a process of its own; return a hint that says what came of it."""
    other: Name = "torchscript" if asked == "dynamo" else "dynamo"
    if other == "torchscript" and (file.spec.opset or 0) > TRAITS.exporter_opsets[other]:
        return f"`exporter: torchscript` makes opset {TRAITS.exporter_opsets[other]} at most"
    model = dataclasses.replace(file.spec.model, exporter=other)
    changed = dataclasses.replace(file, spec=dataclasses.replace(file.spec, model=model))
    try:
        opset = call_alone(TryExporter(SpecPart(changed)), within=_TRIAL_SECONDS)
    except OnnxpackError as error:
        return f"`exporter: {other}` was tried, and fails too: {error.problems[0].message}"
    return f"set `exporter: {other}`: it was tried, takes this model, and gives the same answers, at opset {opset}"


@dataclasses.dataclass(frozen=True)
class TryExporter(Task[int]):
    """Export by the spec's exporter and compare; the result is the opset of the file."""

    NAME = "exporter trial"
    spec: SpecPart

    def run(self, folder: Path, say: Say) -> int:
        """Export and compare in this process's folder."""
        return try_exporter(self.spec.file, folder / "model.onnx")


def try_exporter(file: SpecFile, place: Path) -> int:
    """Export by the spec's exporter, compare at the traced and at other sizes; return the file's opset.

    Raises:
        SourceError: it does not work.
    """
    from onnxpack.graph.check import read_facts

    assert file.spec.model.exporter
    module = load_source(file.spec.model.framework).load(file)
    example = draw(file.spec, choose_tracing_sizes(file.spec.axes), 0)
    job = ExportJob(Flat(module, list(example)).eval(), file, example, len(run(module, example)), place)
    run_exporter(file.spec.model.exporter, job)
    if difference := find_difference(job):
        raise SourceError(Problem(f"its export {difference}", "the model depends on what it was traced with"))
    return read_facts(place).opset
