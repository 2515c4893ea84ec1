"""What one field cannot say alone: rules across fields, and the files that a spec names."""

import stat
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from onnxpack.digests import large_file_digest
from onnxpack.errors import Location, Problem
from onnxpack.spec import formats, origin, rules
from onnxpack.spec.client import client_axes
from onnxpack.spec.decode import INVALID, MAX_PROBLEMS
from onnxpack.spec.model import Spec
from onnxpack.spec.nodes import real
from onnxpack.spec.sample_rules import samples, verification
from onnxpack.spec.step_rules import resizing, steps
from onnxpack.spec.wording import meant, short

Where = Callable[..., Location]

RUNTIME_MAX_OPSET = 26
"""The highest that the pinned onnxruntime reads."""
TORCHSCRIPT_MAX_OPSET = 20
SKL2ONNX_MAX_OPSET = 22
TF2ONNX_MAX_OPSET = 18
FIELDS_OF = {
    "torch": {"factory", "kwargs", "weights", "weights_key", "prepare", "exporter", "path", "sha256"},
    "sklearn": {"path", "sha256"},
    "onnx": {"path", "sha256"},
    "xgboost": {"path", "sha256"},
    "lightgbm": {"path", "sha256"},
    "catboost": {"path", "sha256"},
    "keras": {"factory", "kwargs", "weights", "prepare", "path", "sha256"},
}


def check(spec: Spec, folder: Path, root: Path, where: Where) -> list[Problem]:
    """Every problem (of more than 100, the first 101) of a spec whose fields are each right by themselves.

    A field that is not right may stand as ``INVALID``; the rules that read it are left out.
    """
    checks: tuple[tuple[Callable[[], Iterator[Problem]], str], ...] = (
        (lambda: _axes(spec, where), "inputs dynamic_axes preprocess"),
        (lambda: samples(spec, where), "inputs preprocess"),
        (lambda: verification(spec, where), "verify"),
        (lambda: _names(spec, where), "inputs outputs"),
        (lambda: _targets(spec, where), "targets"),
        (lambda: _model(spec, where), "model"),
        (lambda: origin.remote(spec, where), "model"),
        (lambda: origin.pins(spec, where), "model"),
        (lambda: _opset(spec, where), "model opset"),
        (lambda: _files(spec, folder, root, where), "model verify calibration evaluation postprocess"),
        (lambda: rules.tags(spec, where), "version targets"),
        (lambda: rules.precision(spec, where), "model opset targets calibration"),
        (lambda: rules.evaluation(spec, where), "evaluation"),
        (lambda: rules.gates(spec, where), "targets evaluation gates"),
        (lambda: steps(spec, where), "inputs outputs preprocess postprocess"),
        (lambda: resizing(spec, where), "model opset preprocess"),
        (lambda: rules.serving(spec, where), "inputs dynamic_axes runtime image"),
    )
    found = (rule() for rule, read in checks if all(getattr(spec, name) is not INVALID for name in read.split()))
    return list(islice(chain.from_iterable(found), MAX_PROBLEMS + 1))


def _axes(spec: Spec, where: Where) -> Iterator[Problem]:
    used = set(client_axes(spec))
    for name, tensor in spec.inputs.items():
        for index, size in enumerate(tensor.shape):
            if isinstance(size, str):
                used.add(size)
                if size not in spec.dynamic_axes:
                    hint = f"declare it there, as `{size}: {{min: 1, max: 64}}`"
                    if slip := meant(size, spec.dynamic_axes):
                        used.add(slip)
                        hint = f"did you mean '{slip}'? else {hint}"
                    place = where("inputs", name, "shape", index)
                    yield Problem(f"axis '{size}' is not declared in dynamic_axes", hint, place)
    for name, axis in spec.dynamic_axes.items():
        place = where("dynamic_axes", name)
        if name not in used:
            slip = meant(name, client_axes(spec))
            hint = f"did you mean '{slip}'?" if slip else "remove it, or use it in a shape"
            yield Problem(f"axis '{name}' is used in no shape", hint, place)
        if axis.min > axis.max:
            yield Problem(f"axis '{name}': min {axis.min} is above max {axis.max}", "swap them", place)
        elif axis.opt is not None and not axis.min <= axis.opt <= axis.max:
            yield Problem(
                f"axis '{name}': opt {axis.opt} is outside {axis.min} to {axis.max}", "choose one between", place
            )


def _names(spec: Spec, where: Where) -> Iterator[Problem]:
    if not spec.inputs:
        yield Problem("inputs is empty", "name at least one input", where("inputs"))
    seen = set(spec.inputs)
    for index, name in enumerate(spec.outputs):
        if name in seen:
            yield Problem(f"the name '{name}' is used twice", "give every tensor its own", where("outputs", index))
        seen.add(name)


def _targets(spec: Spec, where: Where) -> Iterator[Problem]:
    if not spec.targets:
        yield Problem("targets is empty", "leave it out for the default, cpu", where("targets"))


def _model(spec: Spec, where: Where) -> Iterator[Problem]:
    model = spec.model
    if model.framework not in FIELDS_OF:  # one of a later release, which the decoder refused
        return
    allowed = FIELDS_OF[model.framework]
    for name in sorted(set().union(*FIELDS_OF.values()) - allowed):
        place = where("model", name)
        if place != where("model"):
            yield Problem(
                f"model.{name} means nothing for {model.framework}", f"it takes {', '.join(sorted(allowed))}", place
            )
    if model.framework == "torch":
        yield from formats.torch(model, where)
    elif model.framework == "keras":
        yield from formats.keras(model, where)
    elif model.path is None:
        yield Problem("model.path is missing", f"{model.framework} needs it", where("model"))
    else:
        yield from formats.boosted(model, where)


def _opset(spec: Spec, where: Where) -> Iterator[Problem]:
    limits = {"torchscript": TORCHSCRIPT_MAX_OPSET, "keras": TF2ONNX_MAX_OPSET}
    limits |= dict.fromkeys(("sklearn", *formats.NATIVE), SKL2ONNX_MAX_OPSET)
    framework = spec.model.framework
    maker = (framework == "torch" and spec.model.exporter) or framework
    highest = limits.get(maker, RUNTIME_MAX_OPSET)
    if spec.opset is not None and spec.opset > highest:
        yield Problem(f"{maker} makes opset {highest} at most", f"write opset: {highest} or lower", where("opset"))


def _files(spec: Spec, folder: Path, root: Path, where: Where) -> Iterator[Problem]:
    model = spec.model
    named: list[tuple[str | None, tuple[str | int, ...]]]
    named = [(model.path, ("model", "path")), (model.weights_file, ("model", "weights"))]
    named += [(spec.verify.samples, ("verify", "samples"))]
    codes = (("factory", model.factory), ("prepare", model.prepare))
    named += [(origin.code_file(code), ("model", field)) for field, code in codes]
    named += _data_files(spec)
    digested = ("model", "weights" if model.path is None else "path")
    for relative, path in named:
        if relative is not None and not (path[0] == "model" and origin.is_url(relative)):
            problem = _unfit(relative, folder, root, where(*path))
            if problem:
                yield problem
            elif path == digested:
                yield from _digest(spec, relative, folder / relative, where, where(*path))


def _data_files(spec: Spec) -> Iterator[tuple[str | None, tuple[str | int, ...]]]:
    for part in ("calibration", "evaluation"):
        section = getattr(spec, part)
        yield origin.data_file(section.data if section else None), (part, "data")
    yield origin.code_file(spec.evaluation.metric if spec.evaluation else None), ("evaluation", "metric")
    for index, step in enumerate(spec.postprocess):
        yield step.labels, ("postprocess", index, "labels")


def _unfit(relative: str, folder: Path, root: Path, place: Location) -> Problem | None:
    """Why the path cannot be used: it must be a regular file inside ``root``, links followed."""
    shown = short(relative)
    try:
        target = real(folder / relative)
        if not target.is_relative_to(real(root)):
            hint = "keep it in the spec's Git work tree, or, without Git, in the spec's folder"
            return Problem(f"'{shown}' leads out of the project", hint, place)
        mode = target.stat().st_mode
    except OSError as error:
        return _unreadable(relative, error, place)
    return None if stat.S_ISREG(mode) else Problem(f"'{shown}' is not a regular file", "give the path of a file", place)


def _unreadable(relative: str, error: OSError, place: Location) -> Problem:
    return Problem(
        f"cannot read '{short(relative)}': {error.strerror}", "paths are relative to the spec's own folder", place
    )


def _digest(spec: Spec, path: str, file: Path, where: Where, place: Location) -> Iterator[Problem]:
    runs_code = formats.runs_code(spec.model)
    if spec.model.sha256 is None and not runs_code:
        return
    try:
        actual = large_file_digest(file)
    except OSError as error:
        yield _unreadable(path, error, place)
        return
    if spec.model.sha256 is None:
        yield Problem(
            f"loading '{short(path)}' can run any code in it, so its digest is required",
            f"if you trust the file, add below it   sha256: {actual}",
            place,
        )
    elif spec.model.sha256 != actual:
        yield Problem(
            f"'{short(path)}' is not the file that the spec trusts: its sha256 is {actual}",
            "restore the file, or paste the new digest if you trust it",
            where("model", "sha256"),
        )
