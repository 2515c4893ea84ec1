"""Specs written for a test, and the export stage run in this process, where it is fast, or in a child, as it ships."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from onnxpack.cache.trace import Trace
from onnxpack.core.values import Exported, OnnxModel, Reference
from onnxpack.parity.compare import Comparison, Tolerance, verify_model
from onnxpack.pipeline.export import export_task
from onnxpack.sources.export import export_model
from onnxpack.spec.load import SpecFile, load
from onnxpack.worker import Task
from onnxpack.worker.call import Outcome, Setting, call
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.task import find_result_type


def write_spec(folder: Path, model: dict[str, Any], **fields: Any) -> SpecFile:
    """Write and load a spec with one input ``x`` of float32 [n, 4], where ``fields`` say nothing else."""
    spec = {
        "onnxpack": 1,
        "name": "example",
        "model": model,
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}},
        "dynamic_axes": {"n": {"min": 1, "max": 16}},
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec | fields))
    return load(path)


@dataclass(frozen=True)
class Made:
    """What an export left in its folder, and what it read if it ran in a child."""

    folder: Path
    exported: Exported
    trace: Trace = field(default_factory=Trace)

    @property
    def model(self) -> OnnxModel:
        return self.exported.model

    @property
    def reference(self) -> Reference:
        return self.exported.reference

    @property
    def served(self) -> Reference:
        return self.exported.served

    @cached_property
    def proto(self) -> onnx.ModelProto:
        return onnx.load(self.model.path)

    def rows(self, rtol: float = 1e-3, atol: float = 1e-4) -> list[Comparison]:
        """Compare the exported model with its Reference."""
        return verify_model(self.model.path, self.reference, Tolerance(rtol, atol))


def export_here(file: SpecFile, folder: Path) -> Made:
    """Export in this process."""
    folder.mkdir()
    return Made(folder, export_model(file, folder))


def export_in_child(file: SpecFile, folder: Path, store: Path | None = None) -> Made:
    """Export as a build does, with the files of ``store`` as its own."""
    out = folder / "out"
    out.mkdir(parents=True)
    outcome = call(export_task(file), Setting(folder, out, root=file.root, ignored=(store,) if store else ()))
    return Made(out, outcome.result, outcome.trace)


class Here:
    """Run tasks in this process, where a fault can be planted; requests and results cross as messages."""

    def __call__(self, task: Task[Any], setting: Setting) -> Outcome[Any]:
        folder = setting.folder or setting.scratch
        request = decode(encode(task), type(task))
        data = encode(request.run(folder, lambda text: None), folder)
        return Outcome(decode(data, find_result_type(type(task)), folder), data, Trace())
