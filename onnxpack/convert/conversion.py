"""Converts an ONNX file with another tool, in another environment, and checks that both models answer the same."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxpack.cache.store import Store
from onnxpack.convert.reference import CompareConverted, RunModel
from onnxpack.convert.tensorflow import ConvertModel, RunConverted
from onnxpack.core.errors import GateError, Problem, SpecError
from onnxpack.core.output import replacing
from onnxpack.core.progress import Progress
from onnxpack.core.scratch import replace_file
from onnxpack.inspection.child import describe_onnx
from onnxpack.parity.compare import Comparison, format_comparisons
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.part import SpecPart
from onnxpack.worker.call import Setting, call
from onnxpack.worker.environments import ensure_converter

KINDS = {"savedmodel": "", "tflite": ".tflite"}
"""The kinds of model that a conversion makes, with the ends of their names."""
_SMALL, _LARGE = 2, 3
"""The sizes that a free batch axis is tried at: not 1, which converters treat as a special case."""


@dataclass(frozen=True)
class Conversion:
    """What is asked for: ``output`` is a folder (savedmodel) or a file (tflite), ``sizes`` fix axes of the model."""

    model: Path
    kind: str
    output: Path
    sizes: Mapping[str, int]
    sandbox: bool = False


@dataclass(frozen=True)
class Converted:
    """A conversion's file and how its answers compare; ``layouts`` are outputs that have their channels last now."""

    path: Path
    rows: tuple[Comparison, ...]
    fixed: Mapping[str, int]
    """The axes that the conversion fixed, with their sizes."""
    layouts: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        worst = max(row.max_abs_diff for row in self.rows)
        return {
            "path": str(self.path),
            "comparisons": len(self.rows),
            "max_abs_diff": worst,
            "fixed": dict(self.fixed),
            "channels_last": list(self.layouts),
        }


def convert(asked: Conversion, store: Store, progress: Progress) -> Converted:
    """Convert a model, and write the output whole or not at all.

    Raises:
        SpecError: an axis is not the model's, or a folder that is no SavedModel is in the place of the output.
        SourceError: not an ONNX model, or an operator that cannot be converted.
        GateError: what came out answers otherwise.
        EngineError: the converter cannot be installed.
    """
    kind, output, sizes, sandbox = asked.kind, asked.output, asked.sizes, asked.sandbox
    if kind == "savedmodel":
        _require_replaceable(output)
    file = describe_onnx(asked.model, sandbox=sandbox)
    unknown = [name for name in sizes if name not in file.spec.dynamic_axes]
    if unknown:
        raise SpecError(f"the model has no axis '{unknown[0]}'", suggest_closest(unknown[0], file.spec.dynamic_axes))
    first = file.spec.first_size
    free = first if isinstance(first, str) and not sizes.get(first) else ""  # the batch axis, which may stay free
    fixed = {axis.name: sizes.get(axis.name, axis.opt) for axis in file.spec.axes if axis.name != free}
    python = ensure_converter(store, progress)
    with store.scratch() as scratch:
        cases = [fixed | ({free: size} if free else {}) for size in (_SMALL, _LARGE)][: 2 if free else 1]
        here, there = Setting(scratch, sandbox=sandbox), Setting(scratch, python=python, sandbox=sandbox)
        source = asked.model.resolve()
        with progress.stage("run"):
            part = SpecPart.of(file, "dynamic_axes", "verify")
            names = call(RunModel(part, source, tuple(cases), scratch), here).result
        shapes = {
            name: tuple(fixed.get(str(part), part) for part in tensor.shape)
            for name, tensor in file.spec.inputs.items()
        }
        with progress.stage("convert"):
            call(ConvertModel(source, scratch / "made", shapes), there)
        with progress.stage("verify"):
            call(RunConverted(scratch, kind, len(cases), names), there)
            found = call(CompareConverted(scratch, len(cases)), here).result
        _require(found.rows)
        _place(scratch / "made", kind, output)
    return Converted(output, found.rows, fixed, found.channels_last)


def _require(rows: tuple[Comparison, ...]) -> None:
    failed = [row for row in rows if row.reason]
    if failed or not rows:
        raise GateError(
            Problem(
                f"the converted model differs from the ONNX file: {len(failed)} of {len(rows)} comparisons differ",
                "onnx2tf guesses layouts: fix every axis with --size, or export the model with channels last",
                detail=format_comparisons(failed),
            )
        )


def _require_replaceable(output: Path) -> None:
    """Refuse all but an earlier SavedModel and an empty folder: the whole folder is replaced."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise SpecError(f"'{output}' is not a folder", "choose another --output")
    if output.exists() and any(output.iterdir()) and not (output / "saved_model.pb").is_file():
        raise SpecError(
            f"'{output}' holds files, and they are not a SavedModel that could be replaced", "choose another --output"
        )


def _place(made: Path, kind: str, output: Path) -> None:
    if kind == "savedmodel":
        with replacing(output) as folder:
            for name in ("saved_model.pb", "variables", "assets", "fingerprint.pb"):
                part = made / name
                if part.is_dir():
                    shutil.copytree(part, folder / name)
                elif part.exists():
                    shutil.copyfile(part, folder / name)
        return
    partial = output.with_name(f".{output.name}.part")
    try:
        shutil.copyfile(made / "model.tflite", partial)
        replace_file(partial, output)
    finally:
        partial.unlink(missing_ok=True)


def as_text(found: Converted) -> str:
    """Return the result as JSON text, with every comparison."""
    return json.dumps(found.document() | {"rows": [asdict(row) for row in found.rows]}, indent=2)
