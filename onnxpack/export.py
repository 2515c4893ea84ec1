"""The export stage: source model → ONNX file and Reference. All of it runs in a child process."""

import importlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast

import numpy as np

from onnxpack.budget import Budget
from onnxpack.dataset import CHUNK_ROWS, open_dataset
from onnxpack.errors import OnnxpackError, SourceError
from onnxpack.evaluation import EVALUATION, record
from onnxpack.graph.check import facts
from onnxpack.hunt import hunt
from onnxpack.hunt.trial import Answer
from onnxpack.samples import Arrays, cases, draw, sizes_of, tracing_sizes, write_arrays
from onnxpack.sources import Source
from onnxpack.spec.client import client_spec
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import data_file, is_url
from onnxpack.steady import STEADY_CASES, require_steady, require_values
from onnxpack.steps import postprocessed, preprocessed
from onnxpack.values import MODEL, REFERENCE, SERVED

_WRITES = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass
class _Answers:
    """The source model's outputs, case by case, before they have names."""

    cases: list[str] = field(default_factory=list)
    sizes: list[dict[str, int]] = field(default_factory=list)
    """Of the client's axes."""
    outputs: list[list[np.ndarray[Any, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_model(spec: str, destination: str) -> dict[str, Any]:
    """Loads the source model, records its answers, and exports it into the folder ``destination``.

    Returns the model's facts, the Reference's cases and sizes, ``hunted`` (the sizes by the name of each case that was
    searched for), and what was read meanwhile, for the key: ``files``
    (relative to the spec's root) and ``distributions``. ``served`` has the cases and sizes of the Reference that a
    client sees, if the spec has steps; ``evaluation`` the number of rows, if it has data to evaluate with.
    """
    file = SpecFile.from_json(spec)
    folder = Path(destination)
    read = _record_reads(file.root)
    source = _source(file)
    model = source.load(file)
    answers = _reference(source, model, file, folder)
    raw = folder / "raw"
    raw.mkdir()
    seen = client_spec(file.spec)
    example = preprocessed(file.spec, draw(seen, tracing_sizes(seen.axes), 0))
    framework_names = source.export(model, file, example, len(answers.outputs[0]), raw / MODEL)
    output_names = _finish(file, raw / MODEL, folder, framework_names, answers)
    shutil.rmtree(raw)
    model_facts = asdict(facts(folder / MODEL)) | {"path": MODEL}
    about: dict[str, Any] = {"cases": answers.cases, "sizes": answers.sizes, "notes": answers.notes}
    found = {**about, "sizes": _of_model(file, answers.sizes)}
    hunted, notes = _hunt(file, folder, model_facts["size_bytes"], lambda inputs: _run(source, model, inputs))
    found |= {"hunted": hunted, "notes": [*answers.notes, *notes]}
    if seen is not file.spec:
        found["served"] = about
    if file.spec.evaluation:
        found["evaluation"] = record(
            file,
            folder / EVALUATION,
            lambda sent: dict(zip(output_names, _run(source, model, preprocessed(file.spec, sent)), strict=True)),
        )
    if file.spec.calibration:
        # Read here once, so that what it reads counts in this stage's key, and what is wrong with it is told early.
        for _ in open_dataset(file, file.spec.calibration.data, "calibration").batches(
            CHUNK_ROWS, file.spec.calibration.samples
        ):
            pass
    named = {path.relative_to(file.root).as_posix() for path in named_files(file)}
    return {
        "files": sorted(read | named),
        "distributions": _distributions(),
        "model": model_facts,
        **found,
    }


def named_files(file: SpecFile) -> list[Path]:
    """The files beside the spec that it names; native loaders read some of them unseen. URLs count by their digest."""
    spec = file.spec
    data = [part.data for part in (spec.calibration, spec.evaluation) if part]
    named = [spec.model.path, spec.model.weights, spec.verify.samples, *map(data_file, data)]
    named += [step.labels for step in spec.postprocess]
    return [file.resolve(relative) for relative in named if relative and not is_url(relative)]


def _source(file: SpecFile) -> Source:
    framework = file.spec.model.framework
    try:
        return cast(Source, importlib.import_module(f"onnxpack.sources.{framework}"))
    except ModuleNotFoundError as error:
        raise SourceError(
            f"'{error.name}' is not installed, and {framework} models need it", f"pip install 'onnxpack[{framework}]'"
        ) from None


def _reference(source: Source, model: Any, file: SpecFile, folder: Path) -> _Answers:
    """The source model's outputs, case by case; the inputs are written at once, the outputs when they have names."""
    seen = client_spec(file.spec)
    (folder / REFERENCE).mkdir()
    if seen is not file.spec:
        (folder / SERVED).mkdir()
    given = file.resolve(file.spec.verify.samples) if file.spec.verify.samples else None
    answers = _Answers()
    budget = Budget(file.spec)
    for name, at, sent in cases(seen, given, budget.sizes()):
        inputs = preprocessed(file.spec, sent)
        write_arrays(folder / REFERENCE / f"{name}.inputs.npz", inputs)
        if seen is not file.spec:
            write_arrays(folder / SERVED / f"{name}.inputs.npz", sent)
        outputs = _run(source, model, inputs)
        if len(answers.outputs) < STEADY_CASES:
            require_steady(file.spec, name, outputs, _run(source, model, inputs))
        if seen is file.spec:
            budget.count(sent.values(), outputs)
        else:
            budget.count([*sent.values(), *inputs.values()], [*outputs, *outputs])
        if answers.outputs and len(outputs) != len(answers.outputs[0]):
            raise SourceError("the source model gives another number of outputs at other sizes", "make it constant")
        answers.cases.append(name)
        answers.sizes.append(at)
        answers.outputs.append(outputs)
    if not answers.outputs[0]:
        raise SourceError("the source model gives no outputs", "it must return at least one tensor")
    require_values(file.spec, answers.outputs)
    answers.notes = budget.notes
    return answers


def _hunt(file: SpecFile, folder: Path, size: int, answer: Answer) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Add the cases that a hunt finds to the Reference of the model itself; return their sizes, and notes."""
    found = hunt(file.spec, folder / MODEL, size, answer)
    for case in found.cases:
        write_arrays(folder / REFERENCE / f"{case.name}.inputs.npz", case.inputs)
        write_arrays(folder / REFERENCE / f"{case.name}.outputs.npz", case.outputs)
    return {case.name: sizes_of(file.spec, case.inputs) for case in found.cases}, found.notes


def _of_model(file: SpecFile, sizes: list[dict[str, int]]) -> list[dict[str, int]]:
    """Without the axes that only a client sees."""
    own = {axis.name for axis in file.spec.axes}
    used = own & {size for tensor in file.spec.inputs.values() for size in tensor.shape if isinstance(size, str)}
    return [{name: size for name, size in at.items() if name in used} for at in sizes]


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


def _finish(file: SpecFile, raw: Path, folder: Path, framework_names: Sequence[str], answers: _Answers) -> list[str]:
    """Writes the finished model and the Reference's outputs; gives the outputs' names."""
    import onnx

    from onnxpack.graph import external
    from onnxpack.graph.finish import declare_outputs, finish

    model = external.open_model(raw)
    finish(model, file.spec, framework_names)
    names = [output.name for output in model.graph.output]
    named: list[Arrays] = [dict(zip(names, outputs, strict=True)) for outputs in answers.outputs]
    for case, outputs in zip(answers.cases, named, strict=True):
        write_arrays(folder / REFERENCE / f"{case}.outputs.npz", outputs)
        if (folder / SERVED).exists():
            write_arrays(folder / SERVED / f"{case}.outputs.npz", postprocessed(file, outputs))
    declare_outputs(model, _of_model(file, answers.sizes), named)
    if external.stays_outside(model):
        external.save_outside(model, raw.parent, folder / MODEL)
        onnx.checker.check_model(str(folder / MODEL))
    else:
        external.save_copy(model, raw.parent, folder / MODEL)
    return names


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
