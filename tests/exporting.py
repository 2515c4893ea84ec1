"""Specs written for a test, and the export stage run in this process, where it is fast, or in a child, as it ships."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx

import onnxpack.export
from onnxpack.child import call
from onnxpack.spec.load import SpecFile, load
from onnxpack.values import MODEL, REFERENCE, OnnxModel, model_from
from onnxpack.verify import Comparison, verify_model


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
    """What an export left in its folder."""

    folder: Path
    facts: dict[str, Any]

    @cached_property
    def model(self) -> OnnxModel:
        return model_from(self.facts["model"], self.folder / MODEL)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        return onnx.load(self.model.path)

    def rows(self, rtol: float = 1e-3, atol: float = 1e-4) -> list[Comparison]:
        """Compare the exported model with its Reference."""
        reference = str(self.folder / REFERENCE)
        rows = verify_model(str(self.model.path), reference, self.facts["cases"], rtol, atol)
        return [Comparison(**row) for row in rows]


def export_here(file: SpecFile, folder: Path) -> Made:
    """Export in this process; its record of what is read would outlive the test, so it is left out."""
    folder.mkdir()
    with patch.object(onnxpack.export, "_record_reads", return_value=set()):
        return Made(folder, onnxpack.export.export_model(file.to_json(), str(folder)))


def export_in_child(file: SpecFile, folder: Path) -> Made:
    """Export as a build does."""
    out = folder / "out"
    out.mkdir(parents=True)
    request = {"spec": file.to_json(), "destination": str(out)}
    return Made(out, call("onnxpack.export:export_model", request, folder))
