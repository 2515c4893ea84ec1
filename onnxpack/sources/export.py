"""Export a source model to ONNX and record the Reference, in a child process."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import OnnxpackError, SourceError
from onnxpack.core.values import ANSWERS, MODEL, REFERENCE, REQUEST, SERVED, Exported, Reference
from onnxpack.data.case_budget import Budget
from onnxpack.data.test_inputs import (
    Arrays,
    choose_tracing_sizes,
    draw,
    iterate_cases,
    measure_sizes,
    read_arrays,
    write_arrays,
)
from onnxpack.evaluation.evaluate import EVALUATION, record
from onnxpack.graph.check import read_facts
from onnxpack.hunt import hunt
from onnxpack.hunt.trial import Answer
from onnxpack.intake.cases import make_cases
from onnxpack.intake.conclusions import conclude_request
from onnxpack.parity.determinism import STEADY_CASES, require_steady, require_values
from onnxpack.parity.prepared import compare_prepared, drop_prepare
from onnxpack.sources import Source, load_source
from onnxpack.spec.conclusions import list_conclusions
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.arrays import apply_preprocess
from onnxpack.transforms.outputs import apply_postprocess, list_units


@dataclass
class _Answers:
    """The source model's outputs, case by case, before they have names."""

    cases: list[str] = field(default_factory=list)
    sizes: list[dict[str, int]] = field(default_factory=list)
    """Of the client's axes."""
    outputs: list[list[np.ndarray[Any, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_model(file: SpecFile, folder: Path) -> Exported:
    """Load the source model, record its answers, and export it into ``folder``.

    Raises:
        SourceError: the model cannot be loaded, run or exported.
        GateError: it is not deterministic, or its export lost an axis or an output.
    """
    source = load_source(file.spec.model.framework)
    # `weights: none` says that random parameters are intended; a spec that says nothing may have forgotten them.
    if file.spec.model.factory and file.spec.model.weights is None:
        source.require_weights(file)
    # Before the export, so that nothing that an exporter does to the model reaches the answers.
    model, answers = _load_and_record(source, file, folder)
    raw = folder / "raw"
    raw.mkdir()
    seen = make_served_spec(file.spec)
    example = apply_preprocess(file.spec, draw(seen, choose_tracing_sizes(seen.axes), 0))
    made = source.export(model, file, example, len(answers.outputs[0]), raw / MODEL)
    output_names = _finish(file, raw / MODEL, folder, made.names, answers)
    # The exporter's file is as large as the finished one.
    shutil.rmtree(raw)
    made_model = read_facts(folder / MODEL)
    hunted, notes = _hunt(file, folder, made_model.size_bytes, lambda inputs: _run(source, model, inputs))
    answers.notes += [*made.notes, *notes]
    reference = _make_reference(folder / REFERENCE, answers, _keep_model_axes(file, answers.sizes), hunted)
    served = reference if seen is file.spec else _make_served(file.spec, folder / SERVED, answers)
    evaluation = None
    if file.spec.evaluation:
        record(
            file,
            folder / EVALUATION,
            lambda sent: dict(zip(output_names, _run(source, model, apply_preprocess(file.spec, sent)), strict=True)),
        )
        evaluation = Artifact.of(folder / EVALUATION)
    return Exported(made_model, reference, served, evaluation, made.exporter)


def _make_reference(
    folder: Path, answers: _Answers, sizes: list[dict[str, int]], hunted: dict[str, dict[str, int]]
) -> Reference:
    return Reference(Artifact.of(folder), tuple(answers.cases), tuple(sizes), tuple(answers.notes), hunted)


def _make_served(spec: Spec, folder: Path, answers: _Answers) -> Reference:
    return replace(_make_reference(folder, answers, answers.sizes, {}), units=list_units(spec))


def _load_and_record(source: Source, file: SpecFile, folder: Path) -> tuple[Any, _Answers]:
    """Load the model to export, and record the answers that it is judged by: those of the model before `prepare`.

    Where that one gives other outputs, in number, dtype or shape, or none at all, the answers are those of the model
    after `prepare`, and a note says so. The model is loaded twice, as `prepare` may change it in place, one at a time.

    Raises:
        GateError: `prepare` changes the answers, whatever the exporter does later.
    """
    if file.spec.model.prepare is None:
        model = source.load(file)
        return model, _record_reference(source, model, file, folder)
    try:
        answers = _record_reference(source, source.load(drop_prepare(file)), file, folder)
    except OnnxpackError as error:  # it may take other inputs; what is wrong with the source itself comes again below
        answers, reason = None, f"the model before it does not answer: {error.problems[0].message}"
    model = source.load(file)
    if answers:
        recorded = zip(answers.cases, answers.outputs, strict=True)
        inputs = ((case, read_arrays(folder / REFERENCE / f"{case}.inputs.npz"), before) for case, before in recorded)
        reason = compare_prepared(file.spec, ((case, before, _run(source, model, at)) for case, at, before in inputs))
        if not reason:
            return model, answers
    for name in (REFERENCE, SERVED):
        shutil.rmtree(folder / name, ignore_errors=True)
    answers = _record_reference(source, model, file, folder)
    answers.notes.append(f"the export is judged against the model after `prepare`: {reason}")
    return model, answers


def _record_reference(source: Source, model: Any, file: SpecFile, folder: Path) -> _Answers:
    """Run the source on every case; write the inputs at once, keep the outputs until they have names."""
    seen = make_served_spec(file.spec)
    (folder / REFERENCE).mkdir()
    if seen is not file.spec:
        (folder / SERVED).mkdir()
    answers = _Answers()
    budget = Budget(file.spec)
    for name, at, sent in _iterate_cases(file, folder, budget):
        inputs = apply_preprocess(file.spec, sent)
        write_arrays(folder / REFERENCE / f"{name}.inputs.npz", inputs)
        if seen is not file.spec:
            write_arrays(folder / SERVED / f"{name}.inputs.npz", sent)
        outputs = _run(source, model, inputs)
        # Two runs of each of the first cases; of all it would double the time.
        if len(answers.outputs) < STEADY_CASES:
            require_steady(file.spec, name, outputs, _run(source, model, inputs))
        if seen is file.spec:
            budget.count(sent.values(), outputs)
        else:
            budget.count([*sent.values(), *inputs.values()], [*outputs, *outputs])
        if answers.outputs and len(outputs) != len(answers.outputs[0]):
            raise SourceError(
                "the source model gives another number of outputs at other sizes", "return as many at every size"
            )
        answers.cases.append(name)
        answers.sizes.append(at)
        answers.outputs.append(outputs)
    if not answers.outputs[0]:
        raise SourceError("the source model gives no outputs", "let it return at least one tensor")
    require_values(file.spec, answers.outputs)
    answers.notes = budget.notes
    return answers


def _iterate_cases(file: SpecFile, folder: Path, budget: Budget) -> Iterator[tuple[str, dict[str, int], Arrays]]:
    """Yield every case's name, axis sizes and inputs; the requests of those that clients send are written at once."""
    spec = file.spec
    given = file.resolve(spec.verify.samples) if spec.verify.samples else None
    yield from iterate_cases(make_served_spec(spec), given, budget.sizes())
    for case in make_cases(file):
        (folder / SERVED / f"{case.name}{REQUEST}").write_text(json.dumps(case.request), encoding="utf-8")
        yield case.name, case.sizes, case.sent


def _hunt(file: SpecFile, folder: Path, size: int, answer: Answer) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Search for cases and add them to the Reference of the model itself; return their sizes, and notes."""
    found = hunt(file.spec, folder / MODEL, size, answer)
    for case in found.cases:
        write_arrays(folder / REFERENCE / f"{case.name}.inputs.npz", case.inputs)
        write_arrays(folder / REFERENCE / f"{case.name}.outputs.npz", case.outputs)
    return {case.name: measure_sizes(file.spec, case.inputs) for case in found.cases}, found.notes


def _keep_model_axes(file: SpecFile, sizes: list[dict[str, int]]) -> list[dict[str, int]]:
    """Return the sizes without the axes that only a client sees."""
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
            "check the inputs' `shape`, `dtype` and `range`, and the limits of the axes, in the spec",
        ) from None


def _finish(file: SpecFile, raw: Path, folder: Path, framework_names: Sequence[str], answers: _Answers) -> list[str]:
    """Write the finished model and the Reference's outputs; return the outputs' names."""
    import onnx

    from onnxpack.graph import external_data
    from onnxpack.graph.finalize import declare_outputs, finish

    model = external_data.open_model(raw)
    finish(model, file.spec, framework_names)
    names = [output.name for output in model.graph.output]
    named: list[Arrays] = [dict(zip(names, outputs, strict=True)) for outputs in answers.outputs]
    for case, outputs in zip(answers.cases, named, strict=True):
        write_arrays(folder / REFERENCE / f"{case}.outputs.npz", outputs)
        if (folder / SERVED).exists():
            served = apply_postprocess(file, outputs)
            write_arrays(folder / SERVED / f"{case}.outputs.npz", served)
            request = folder / SERVED / f"{case}{REQUEST}"
            if list_conclusions(file.spec) and request.exists():
                answers_of_case = conclude_request(file, json.loads(request.read_text(encoding="utf-8")), served)
                write_arrays(folder / SERVED / f"{case}{ANSWERS}", answers_of_case)
    # After the renaming, as the observed shapes are under the shipped names.
    declare_outputs(model, _keep_model_axes(file, answers.sizes), named)
    if external_data.stays_outside(model):
        external_data.save_outside(model, raw.parent, folder / MODEL)
        onnx.checker.check_model(str(folder / MODEL))
    else:
        external_data.save_copy(model, raw.parent, folder / MODEL)
    return names
