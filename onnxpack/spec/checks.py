"""Checks that concern several fields of a spec, and the files that it names."""

import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from onnxpack.cache.remembered import digest_large_file
from onnxpack.core.errors import Location, Problem
from onnxpack.core.regular import is_regular
from onnxpack.spec import formats, origin, rules
from onnxpack.spec.decode import INVALID, MAX_PROBLEMS
from onnxpack.spec.messages import find_similar, shorten
from onnxpack.spec.model import Spec
from onnxpack.spec.output_rules import check_output_steps
from onnxpack.spec.parts import list_folder_parts
from onnxpack.spec.picture_rules import check_pictures
from onnxpack.spec.sample_rules import check_samples, check_verification
from onnxpack.spec.served import list_served_axes
from onnxpack.spec.step_rules import check_least_sizes, check_opset, check_steps
from onnxpack.spec.text_rules import check_texts
from onnxpack.spec.traits import FrameworkTraits, frameworks
from onnxpack.spec.yaml_nodes import resolve_links

Where = Callable[..., Location]


def check(spec: Spec, folder: Path, root: Path, where: Where) -> list[Problem]:
    """Return the problems, 101 at most, of a spec whose fields are each valid by themselves.

    A field that is not valid may be ``INVALID``; the rules that read it are skipped.
    """
    checks: tuple[tuple[Callable[[], Iterator[Problem]], str], ...] = (
        (lambda: _check_axes(spec, where), "inputs dynamic_axes preprocess"),
        (lambda: check_samples(spec, where), "inputs preprocess"),
        (lambda: check_verification(spec, where), "verify"),
        (lambda: _check_names(spec, where), "inputs outputs"),
        (lambda: _check_targets(spec, where), "targets"),
        (lambda: _check_model(spec, where), "model"),
        (lambda: origin.check_url(spec, where), "model"),
        (lambda: origin.check_pins(spec, where), "model"),
        (lambda: origin.check_image_packages(spec, where), "image targets"),
        (lambda: _check_opset(spec, where), "model opset"),
        (lambda: _check_files(spec, folder, root, where), "model verify calibration evaluation preprocess postprocess"),
        (lambda: rules.check_tags(spec, where), "version targets"),
        (lambda: rules.check_precision(spec, where), "model opset targets calibration"),
        (lambda: rules.check_evaluation(spec, where), "evaluation"),
        (lambda: rules.check_gates(spec, where), "targets evaluation gates"),
        (lambda: check_output_steps(spec, where), "opset preprocess postprocess"),
        (lambda: check_steps(spec, where), "inputs outputs preprocess postprocess"),
        (lambda: check_texts(spec, folder, where), "inputs outputs dynamic_axes preprocess"),
        (lambda: check_pictures(spec, where), "inputs dynamic_axes preprocess"),
        (lambda: check_opset(spec, where), "inputs model opset preprocess"),
        (lambda: check_least_sizes(spec, where), "inputs dynamic_axes preprocess"),
        (lambda: rules.check_serving(spec, where), "inputs dynamic_axes runtime image"),
    )
    found = (rule() for rule, read in checks if all(getattr(spec, name) is not INVALID for name in read.split()))
    # One more than is shown tells that there are more.
    return list(islice(chain.from_iterable(found), MAX_PROBLEMS + 1))


def _check_axes(spec: Spec, where: Where) -> Iterator[Problem]:
    used = set(list_served_axes(spec))
    for name, tensor in spec.inputs.items():
        for index, size in enumerate(tensor.shape):
            if isinstance(size, str):
                used.add(size)
                if size not in spec.dynamic_axes:
                    hint = f"declare it, for example as `{size}: {{min: 1, max: 64}}`"
                    if slip := find_similar(size, spec.dynamic_axes):
                        used.add(slip)
                        hint = f"did you mean '{slip}'? If not, {hint}"
                    place = where("inputs", name, "shape", index)
                    yield Problem(f"axis '{size}' is not declared in dynamic_axes", hint, place)
    for name, axis in spec.dynamic_axes.items():
        place = where("dynamic_axes", name)
        if name not in used:
            slip = find_similar(name, list_served_axes(spec))
            hint = f"did you mean '{slip}'?" if slip else "remove it, or use it in a shape"
            yield Problem(f"axis '{name}' is used in no shape", hint, place)
        if axis.min > axis.max:
            yield Problem(f"axis '{name}': min {axis.min} is above max {axis.max}", "swap `min` and `max`", place)
        elif axis.opt is not None and not axis.min <= axis.opt <= axis.max:
            yield Problem(
                f"axis '{name}': opt {axis.opt} is outside {axis.min} to {axis.max}",
                f"set `opt` from {axis.min} to {axis.max}",
                place,
            )


def _check_names(spec: Spec, where: Where) -> Iterator[Problem]:
    if not spec.inputs:
        yield Problem("inputs is empty", "declare at least one input", where("inputs"))
    seen = set(spec.inputs)
    for index, name in enumerate(spec.outputs):
        if name in seen:
            yield Problem(
                f"the name '{name}' is used twice", "give every tensor a name of its own", where("outputs", index)
            )
        seen.add(name)


def list_all_fields() -> set[str]:
    """Return the fields of ``model`` that only some frameworks take."""
    return {name for traits in frameworks().values() for name in traits.fields}


def _check_targets(spec: Spec, where: Where) -> Iterator[Problem]:
    if not spec.targets:
        yield Problem("targets is empty", "remove `targets` for the default: one image for the CPU", where("targets"))


def _check_model(spec: Spec, where: Where) -> Iterator[Problem]:
    model = spec.model
    traits = frameworks().get(model.framework)
    if traits is None:  # one of a later release, which the decoder refused
        return
    allowed = set(traits.fields)
    for name in sorted(list_all_fields() - allowed):
        place = where("model", name)
        if place != where("model"):
            yield Problem(
                f"model.{name} does not apply to {model.framework}",
                f"remove it: {model.framework} takes {', '.join(sorted(allowed))}",
                place,
            )
    yield from formats.check_files(model, traits, where)
    yield from formats.check_task(model, where)


def _check_opset(spec: Spec, where: Where) -> Iterator[Problem]:
    framework = spec.model.framework
    traits = frameworks().get(framework, FrameworkTraits())
    named = spec.model.exporter
    maker: str = named if named is not None and named in traits.exporter_opsets else framework
    highest = traits.exporter_opsets.get(maker, traits.max_opset)
    if spec.opset is not None and spec.opset > highest:
        yield Problem(f"{maker} makes opset {highest} at most", f"set `opset: {highest}` or lower", where("opset"))


def _check_files(spec: Spec, folder: Path, root: Path, where: Where) -> Iterator[Problem]:
    model = spec.model
    named: list[tuple[str | None, tuple[str | int, ...]]]
    named = [(model.path, ("model", "path")), (model.weights_file, ("model", "weights"))]
    named += [(spec.verify.samples, ("verify", "samples"))]
    codes = (("factory", model.factory), ("prepare", model.prepare))
    named += [(origin.find_code_file(code), ("model", field)) for field, code in codes]
    named += _iterate_data_files(spec)
    traits = frameworks().get(model.framework, FrameworkTraits())
    digested = ("model", "weights" if model.path is None else "path")
    for relative, path in named:
        if relative is not None and not (path[0] == "model" and origin.is_url(relative)):
            marks = traits.folder if path == ("model", "path") else ()
            problem = _find_path_problem(relative, folder, root, where(*path), marks)
            if problem:
                yield problem
            elif marks:
                yield from _check_folder(relative, folder, root, where(*path), marks)
            elif path == digested:
                yield from _check_digest(spec, relative, folder / relative, where, where(*path))


def _iterate_data_files(spec: Spec) -> Iterator[tuple[str | None, tuple[str | int, ...]]]:
    for part in ("calibration", "evaluation"):
        section = getattr(spec, part)
        yield origin.find_data_file(section.data if section else None), (part, "data")
    yield origin.find_code_file(spec.evaluation.metric if spec.evaluation else None), ("evaluation", "metric")
    for index, before in enumerate(spec.preprocess):
        yield before.tokenizer, ("preprocess", index, "tokenizer")
    for index, behind in enumerate(spec.postprocess):
        yield behind.labels, ("postprocess", index, "labels")


def _find_path_problem(
    relative: str, folder: Path, root: Path, place: Location, marks: Sequence[str] = ()
) -> Problem | None:
    """Return why a path cannot be used: it must lead to a regular file inside ``root``, links followed.

    With ``marks``, names of files, it must lead to a folder that has the first of them.
    """
    shown = shorten(relative)
    try:
        target = resolve_links(folder / relative)
        if not target.is_relative_to(resolve_links(root)):
            hint = "move it into the spec's Git work tree, or, without Git, into the spec's folder"
            return Problem(f"'{shown}' is outside the project", hint, place)
        mode = target.stat().st_mode
        if marks and not stat.S_ISDIR(mode):
            return Problem(f"'{shown}' is not a folder", f"give the folder that has {marks[0]} in it", place)
        if marks:
            mode = (target / marks[0]).stat().st_mode
    except OSError as error:
        if marks and error.filename and Path(error.filename).name == marks[0]:
            return Problem(f"'{shown}' has no {marks[0]}", "give the folder that `save_pretrained` wrote", place)
        return _unreadable_problem(relative, error, place)
    return None if stat.S_ISREG(mode) else Problem(f"'{shown}' is not a regular file", "give the path of a file", place)


def _check_folder(relative: str, folder: Path, root: Path, place: Location, names: Sequence[str]) -> Iterator[Problem]:
    """Check that no file of a model's folder is a link that leads out of the project, as in a download cache."""
    for part in list_folder_parts(folder / relative, names):
        if is_regular(part) and not resolve_links(part).is_relative_to(resolve_links(root)):
            hint = "copy the folder with what its links lead to: `cp -rL FOLDER COPY`"
            yield Problem(f"'{shorten(relative)}' has '{part.name}', a link out of the project", hint, place)


def _unreadable_problem(relative: str, error: OSError, place: Location) -> Problem:
    return Problem(
        f"cannot read '{shorten(relative)}': {error.strerror}",
        "correct the path: it is relative to the spec's folder",
        place,
    )


def _check_digest(spec: Spec, path: str, file: Path, where: Where, place: Location) -> Iterator[Problem]:
    runs_code = formats.runs_code(spec.model)
    if spec.model.sha256 is None and not runs_code:
        return
    try:
        actual = digest_large_file(file)
    except OSError as error:
        yield _unreadable_problem(path, error, place)
        return
    if spec.model.sha256 is None:
        yield Problem(
            f"loading '{shorten(path)}' can run any code in it, so its digest is required",
            f"if you trust the file, add to `model`:   sha256: {actual}",
            place,
        )
    elif spec.model.sha256 != actual:
        yield Problem(
            f"'{shorten(path)}' is not the file that the spec trusts: its sha256 is {actual}",
            "restore the file, or, if you trust this one, set `sha256` to its digest",
            where("model", "sha256"),
        )
