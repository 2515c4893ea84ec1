"""The export stage: source model → ONNX file and Reference. All of it runs in a child process."""

import importlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast

import numpy as np

from onnxpack.budget import Budget
from onnxpack.errors import OnnxpackError, SourceError
from onnxpack.graph.check import facts
from onnxpack.samples import Arrays, cases, draw, tracing_sizes, write_arrays
from onnxpack.sources import Source
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import is_url
from onnxpack.steady import STEADY_CASES, require_steady, require_values
from onnxpack.values import MODEL, REFERENCE

_WRITES = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def export_model(spec: str, destination: str) -> dict[str, Any]:
    """Loads the source model, records its answers, and exports it into the folder ``destination``.

    Returns the model's facts, the Reference's cases and sizes, and what was read meanwhile, for the key: ``files``
    (relative to the spec's root) and ``distributions``.
    """
    file = SpecFile.from_json(spec)
    folder = Path(destination)
    read = _record_reads(file.root)
    source = _source(file)
    model = source.load(file)
    names, sizes, answers, notes = _reference(source, model, file, folder / REFERENCE)
    raw = folder / "raw"
    raw.mkdir()
    example = draw(file.spec, tracing_sizes(file.spec.axes), 0)
    framework_names = source.export(model, file, example, len(answers[0]), raw / MODEL)
    _finish(file, raw / MODEL, folder, framework_names, names, sizes, answers)
    shutil.rmtree(raw)
    named = {path.relative_to(file.root).as_posix() for path in named_files(file)}
    return {
        "files": sorted(read | named),
        "distributions": _distributions(),
        "model": asdict(facts(folder / MODEL)) | {"path": MODEL},
        "cases": names,
        "sizes": sizes,
        "notes": notes,
    }


def named_files(file: SpecFile) -> list[Path]:
    """The files beside the spec that it names; native loaders read some of them unseen. URLs count by their digest."""
    model = file.spec.model
    named = [model.path, model.weights, file.spec.verify.samples]
    return [file.resolve(relative) for relative in named if relative and not is_url(relative)]


def _source(file: SpecFile) -> Source:
    framework = file.spec.model.framework
    try:
        return cast(Source, importlib.import_module(f"onnxpack.sources.{framework}"))
    except ModuleNotFoundError as error:
        raise SourceError(
            f"'{error.name}' is not installed, and {framework} models need it", f"pip install 'onnxpack[{framework}]'"
        ) from None


def _reference(
    source: Source, model: Any, file: SpecFile, folder: Path
) -> tuple[list[str], list[dict[str, int]], list[list[np.ndarray[Any, Any]]], list[str]]:
    """The source model's outputs, case by case; the inputs are written at once, the outputs when they have names."""
    folder.mkdir()
    given = file.resolve(file.spec.verify.samples) if file.spec.verify.samples else None
    names: list[str] = []
    all_sizes: list[dict[str, int]] = []
    answers: list[list[np.ndarray[Any, Any]]] = []
    budget = Budget(file.spec)
    for name, at, inputs in cases(file.spec, given, budget.sizes()):
        write_arrays(folder / f"{name}.inputs.npz", inputs)
        outputs = _run(source, model, inputs)
        if len(answers) < STEADY_CASES:
            require_steady(file.spec, name, outputs, _run(source, model, inputs))
        budget.count(inputs, outputs)
        if answers and len(outputs) != len(answers[0]):
            raise SourceError("the source model gives another number of outputs at other sizes", "make it constant")
        names.append(name)
        all_sizes.append(at)
        answers.append(outputs)
    if not answers[0]:
        raise SourceError("the source model gives no outputs", "it must return at least one tensor")
    require_values(file.spec, answers)
    return names, all_sizes, answers, budget.notes


def _run(source: Source, model: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    try:
        # Copies: a model may change its inputs in place.
        return source.run(model, {name: array.copy() for name, array in inputs.items()})
    except OnnxpackError:
        raise
    except Exception as error:  # a user's forward pass may raise anything
        shapes = ", ".join(f"{key} {value.shape}" for key, value in inputs.items())
        raise SourceError(
            f"the source model fails on {shapes}: {type(error).__name__}: {str(error)[:500]}",
            "check the inputs' shapes, dtypes, ranges and axis limits",
        ) from None


def _finish(
    file: SpecFile,
    raw: Path,
    folder: Path,
    framework_names: Sequence[str],
    names: list[str],
    sizes: list[dict[str, int]],
    answers: list[list[np.ndarray[Any, Any]]],
) -> None:
    import onnx

    from onnxpack.graph import external
    from onnxpack.graph.finish import declare_outputs, finish

    model = onnx.load(raw, load_external_data=False)
    outside = external.stays_outside(model)
    if not outside:
        onnx.load_external_data_for_model(model, str(raw.parent))
    finish(model, file.spec, framework_names)
    output_names = [output.name for output in model.graph.output]
    named: list[Arrays] = [dict(zip(output_names, outputs, strict=True)) for outputs in answers]
    for name, outputs in zip(names, named, strict=True):
        write_arrays(folder / REFERENCE / f"{name}.outputs.npz", outputs)
    declare_outputs(model, sizes, named)
    if outside:
        external.save_outside(model, raw.parent, folder / MODEL)
        onnx.checker.check_model(str(folder / MODEL))
        return
    onnx.checker.check_model(model)
    large = model.ByteSize() > external.EXTERNAL_DATA_OVER
    onnx.save(model, folder / MODEL, save_as_external_data=large, location=f"{MODEL}.data")


def _record_reads(root: Path) -> set[str]:
    """Starts recording every file below ``root`` that is opened for reading from now on, relative to it.

    What is installed, and this package, count by their versions and not file by file.
    """
    found: set[str] = set()
    base = f"{root.resolve()}/"
    installed = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    left_out = tuple(f"{path.resolve()}/" for path in (*map(Path, installed), Path(__file__).parent))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str) or arguments[2] & _WRITES:
            return
        path = str(Path(arguments[0]).absolute())
        if path.endswith(".pyc") and "/__pycache__/" in path:
            path = importlib.util.source_from_cache(path)
        if path.startswith(base) and not path.startswith(left_out):
            found.add(path[len(base) :])

    sys.addaudithook(hook)
    return found


def _distributions() -> dict[str, str]:
    """The installed distributions that took part, with their versions."""
    owners = packages_distributions()
    loaded = {name.partition(".")[0] for name in sys.modules}
    names = {owner for package in loaded for owner in owners.get(package, ())}
    return {name: version(name) for name in sorted(names)}
