"""Builds one target and leaves the outcome in ``dist/<name>/<target>/``, which always shows the last attempt.

A build that failed leaves its report there, and no context or model that could be taken for its result.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxpack.bundle.context import model_files
from onnxpack.cache.store import LAST
from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest
from onnxpack.core.errors import OnnxpackError, Problem, SpecError, naming
from onnxpack.core.output import replacing
from onnxpack.core.regular import is_regular
from onnxpack.core.scratch import sweep
from onnxpack.core.values import MODEL
from onnxpack.pipeline.chain import Stage, chain
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.reasons import explain_records
from onnxpack.pipeline.receipts import find_last
from onnxpack.pipeline.report import (
    FAILED,
    PASSED,
    REPORT,
    Attempt,
    describe_attempt,
    describe_failed_attempt,
    read_output_report,
    write_report,
)
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.unjudged import require_judged
from onnxpack.spec.load import load
from onnxpack.spec.yaml_nodes import resolve_links


@dataclass(frozen=True)
class Wanted:
    """How far a build goes, and whether the last good output is put aside if it fails."""

    until: str = "smoke"
    keep_last: bool = False


def build(run: Build, wanted: Wanted) -> Attempt:
    """Walk the chain and put the outputs in their place.

    It returns an attempt that failed, instead of raising, for every error that a user can cause or meet.

    Raises:
        SpecError: the place holds something else than a build of this spec; nothing is changed there.
    """
    require_free(run.plan)
    _sweep(run)
    stages = chain(run.plan, wanted.until)
    names = tuple(name for stage in stages for name in stage.names)
    attempt = Attempt(run.plan, wanted.until, names, Product())
    output = run.plan.output
    try:
        with replacing(output) as folder:
            attempt = _walk(run, stages, attempt, folder)
            if not attempt.passed:
                attempt = _leave_report(run, attempt, folder, wanted)
            require_free(run.plan)  # what came there while the build ran is not lost either
    except OSError as error:  # a full disk: what stands in the place is untouched
        attempt = replace(attempt, failed_stage=attempt.failed_stage or "output", error=attempt.error or error)
    return attempt


def _sweep(run: Build) -> None:
    """Remove what killed builds left where this one works; beside the output, that is done when a new one is begun."""
    run.store.sweep()
    for folder in (run.plan.file.folder, run.store.root / LAST):
        with contextlib.suppress(OSError):  # it is not there, or cannot be listed: nothing depends on it
            sweep(folder)


def require_free(plan: Plan) -> None:
    """Make sure that what the outputs will replace is an earlier build of this spec, or nothing.

    Raises:
        SpecError: it is a file, a folder that no build has made, or the build of another spec that still has this name.
    """
    _require_ours(plan)
    other = _spec_of(read_output_report(plan.output), plan.output)
    if other is None or other == plan.file.path.resolve() or not is_regular(other):
        return
    if _name_of(other) == plan.file.spec.name:
        text = f"'{show_path(plan.output)}' holds the build of '{show_path(other)}', which has the same name"
        hint = "change the `name` of one of the specs, or choose another --output"
        raise SpecError(Problem(text, hint, plan.file.where("name")))


def _require_ours(plan: Plan) -> None:
    """Refuse everything but a build's folder and an empty one: the whole folder is replaced."""
    place = plan.output
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise SpecError(f"a part of '{show_path(place)}' is a file", "choose another --output") from None
    if not stat.S_ISDIR(mode):
        text = f"the outputs go to '{show_path(place)}', which is not a folder"
        raise SpecError(Problem(text, "move it away, or choose another --output", plan.file.where("name")))
    if not _is_ours(read_output_report(place)) and any(place.iterdir()):
        text = f"the outputs would replace '{show_path(place)}', which onnxpack did not make"
        hint = f"it has no {REPORT} of a build: move it away, or choose another --output"
        raise SpecError(Problem(text, hint, plan.file.where("name")))


def _is_ours(report: dict[str, Any]) -> bool:
    return isinstance(report.get("spec"), str) and report.get("status") in (PASSED, FAILED)


def _spec_of(report: dict[str, Any], output: Path) -> Path | None:
    """Return the spec that a report in ``output`` names, if it names one."""
    known = report.get("spec")
    try:
        return resolve_links(output / known) if isinstance(known, str) else None
    except ValueError:  # with a NUL, or half a character, in it
        return None


def _name_of(path: Path) -> str | None:
    """Return the name in a spec; what is no valid spec any more has none."""
    try:
        return load(path).spec.name
    except (SpecError, OSError):
        return None


def mark_failed(output: Path, spec: Path, error: OnnxpackError) -> None:
    """Replace every output that stands of a spec which cannot be read any more by the report of that failure."""
    for path in output.glob(f"*/*/{REPORT}"):
        report = read_output_report(path.parent)
        if _is_ours(report) and _spec_of(report, path.parent) == spec.resolve():
            found = describe_failed_attempt(report["spec"], "spec", error)
            place = {"name": path.parts[-3], "target": path.parts[-2]}
            _replace_by_report(path.parent, found | place)


def leave_failed(output: Path, spec: Path, document: dict[str, Any]) -> None:
    """Put the report of a failed attempt in a target's place, unless something else than this spec's build is there.

    It is for a build whose process could not do so itself.
    """
    report = read_output_report(output)
    if not output.exists() or (_is_ours(report) and _spec_of(report, output) == spec.resolve()):
        _replace_by_report(output, document | {"spec": os.path.relpath(spec.resolve(), output)})


def _replace_by_report(output: Path, document: dict[str, Any]) -> None:
    with replacing(output) as folder:
        write_report(document, folder)


def _walk(run: Build, stages: Sequence[Stage], attempt: Attempt, folder: Path) -> Attempt:
    """Apply the stages, then fill the output's folder."""
    product, now = replace(attempt.product, folder=folder), ""
    for note in attempt.plan.notes:
        run.progress.note(note)
    try:
        for stage in stages:
            now = "/".join(stage.names)
            with naming(folder, only_unnamed=True):
                product = stage.apply(run, product)
        if product.image is None:  # else that was done before the image got its name
            now = "gates"
            require_judged(run, product)
        now = "output"
        attempt = _add_records(run, replace(attempt, product=product))
        with naming(folder, only_unnamed=True):
            _write(attempt, folder)
    except (OnnxpackError, OSError) as error:
        return replace(_add_records(run, replace(attempt, product=product)), failed_stage=now, error=error)
    return attempt


def _add_records(run: Build, attempt: Attempt) -> Attempt:
    """Add what the runner noted of the stages' work, and why it was done."""
    runner, file = run.runner, run.plan.file
    records = tuple(runner.records)
    if not all(record.cached for record in records):
        last = find_last(run.store, str(file.path), run.plan.target)
        records = tuple(explain_records(records, runner.read.steps, last[1] if last else None, file.root))
    return replace(attempt, records=records, distributions=dict(runner.distributions))


def _write(attempt: Attempt, folder: Path) -> None:
    """Write the model that ships, the report and its page; what the report says is of these very bytes."""
    product = attempt.product
    assert product.model
    for file in model_files(product.model.path):
        shutil.copyfile(file, folder / file.name)
    shipped = Artifact.of(folder / MODEL).digest
    judged = [product.model.file.digest, *(row.model_digest for row in product.candidates if row.chosen)]
    judged += [product.evaluation.model_digest] if product.evaluation else []
    if any(known != shipped for known in judged):
        raise AssertionError("the model that was judged is not the model that ships")
    write_report(describe_attempt(attempt), folder)


def _leave_report(run: Build, attempt: Attempt, folder: Path, wanted: Wanted) -> Attempt:
    """Leave nothing but the report of a failed attempt, and its page, in ``folder``."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if wanted.keep_last:
        attempt = replace(attempt, last_good=_put_aside(run))
    write_report(describe_attempt(attempt), folder)
    return attempt


def _put_aside(run: Build) -> Path | None:
    """Copy the last output that passed into the store; return where the last good one is, if there is one."""
    output = run.plan.output
    place = run.store.root / LAST / digest(str(output))
    status = read_output_report(output).get("status")
    if status == PASSED:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as folder:
            shutil.copytree(output, folder, symlinks=True, dirs_exist_ok=True)
    return place if status == PASSED or (status == FAILED and place.exists()) else None


def show_path(path: Path) -> str:
    """Return the path from here where it is below the working folder."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
