"""Replays a Reference on the packages of an old and of a new lock: a new runtime must not move a model's answers.

The model that ships is made up to its bundle, and runs in an isolated environment for each lock, with the packages that
the generated module imports in the versions of that lock. This happens on this machine's CPU, whatever the target is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onnxpack.bundle.lock import Lock, TargetLock
from onnxpack.core.errors import GateError, OnnxpackError, Problem, SourceError
from onnxpack.core.text import plural
from onnxpack.core.values import Exported, OnnxModel, Reference
from onnxpack.parity.compare import Comparison, ParityError, Tolerance, format_comparisons
from onnxpack.pipeline.chain import chain, stage_order, walk
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.runner import Apart
from onnxpack.tasks.answer import AnswerReference
from onnxpack.tasks.compare import CompareModel
from onnxpack.worker.environments import CHILD, ensure_environment, key_environment
from onnxpack.worker.task import Task

ResultT = TypeVar("ResultT")
_STAYS = "the lock stays as it was"
_RUNTIME = "onnxruntime"
"""What the names of its distributions begin with; all fill one folder."""


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Attributes:
        moved: what computes the answers and has another version, in words.
        tolerance: the tolerance that the answers were judged by.
        rows: the answers by the new lock against those by the old one; empty where the old one gives none.
        source_rows: the answers by the new lock against those of the source model.
        notes: what was not replayed as it will run, and why.
    """

    moved: tuple[str, ...]
    tolerance: Tolerance
    source_rows: list[Comparison]
    rows: list[Comparison] = field(default_factory=list)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    """One of the two locks, and what is made by it.

    Attributes:
        packages: the versions of what the generated module imports.
        environment: the versions in the model's isolated environment.
    """

    packages: dict[str, str]
    environment: dict[str, str]


def list_moved(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return what has another version after a change, as ``onnxruntime 1.31.1 → 1.32.0``."""
    return tuple(
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def replay(run: Build, old: Lock, new: Lock) -> Replay | None:
    """Compare the answers of one target's model by an old lock and by a new one; None if nothing moved that computes.

    Raises:
        GateError: they differ by more than the tolerance in force, or from those of the source model.
        SourceError: the model cannot be exported.
        EngineError: the package index cannot be reached.
    """
    name = run.plan.target
    if name not in old.targets or name not in new.targets:
        return None
    before, after = (_Side(_list_packages(run, lock.targets[name]), dict(lock.pins.environment)) for lock in (old, new))
    moved = list_moved(before.packages, after.packages)
    moved += tuple(f"{words} for the source model" for words in list_moved(before.environment, after.environment))
    if not moved:
        return None
    found = _compare(run, before, after, moved)
    _require_same(run, found)
    return found


def _list_packages(run: Build, locked: TargetLock) -> dict[str, str]:
    """Return the locked versions of what the generated module imports."""
    wanted = {canonicalize_name(Requirement(line).name) for line in run.plan.device.requirements}
    return {one.name: one.version for one in locked.packages if one.name in wanted}


def _compare(run: Build, before: _Side, after: _Side, moved: tuple[str, ...]) -> Replay:
    """Run the model of each side on its packages, and compare the answers."""
    models = _make_models(run, before, after)
    model, served = models.new, models.exported.served
    tolerance = run.plan.tolerance(model.precision)
    try:
        rows = _run(run, after, CompareModel(model, served, tolerance), "new lock").rows
    except SourceError as error:  # the process died, or the new packages cannot be imported
        (problem,) = error.problems
        text = f"target '{run.plan.target}': with {', '.join(moved)} the model does not run: {problem.message}"
        raise GateError(text, _STAYS, problem.detail) from None
    found = Replay(moved, tolerance, list(rows), notes=models.notes)
    if models.old is None:
        return found
    try:
        answers: Reference = _run(run, before, AnswerReference(models.old, served, model.precision), "old lock")
    except OnnxpackError as error:
        return replace(found, notes=(*found.notes, _explain_absence(error)))
    rows = _run(run, after, CompareModel(model, answers, tolerance), "both locks").rows
    return replace(found, rows=list(rows))


@dataclass(frozen=True)
class _Models:
    """The models that ship by either lock, and the answers that both are judged by."""

    exported: Exported
    old: OnnxModel | None
    new: OnnxModel
    notes: tuple[str, ...]


def _make_models(run: Build, before: _Side, after: _Side) -> _Models:
    """Make the models of both sides; where the old environment gives none any more, the new one counts alone."""
    notes = ("replayed on the CPU: the answers of a GPU may move otherwise",) if run.plan.device.gpu else ()
    if before.environment == after.environment:
        exported, model = _make_model(run, after)
        return _Models(exported, model, model, notes)
    new_exported, new = _make_model(run, after)
    try:
        exported, old = _make_model(run, before)
    except OnnxpackError as error:
        return _Models(new_exported, None, new, (*notes, _explain_absence(error)))
    return _Models(exported, old, new, notes)


def _explain_absence(error: OnnxpackError) -> str:
    return f"compared with the source model alone: the old lock gives no answers: {error.problems[0].message[:300]}"


def _make_model(run: Build, side: _Side) -> tuple[Exported, OnnxModel]:
    """Make the model that ships, by the chain up to its bundle."""
    order = stage_order(run.plan)
    run = replace(run, environment=side.environment)
    product = walk(run, chain(run.plan, order[order.index("bundle") - 1]), Product())
    assert product.exported
    assert product.model
    return product.exported, product.model


def _run(run: Build, side: _Side, task: Task[ResultT], of: str) -> ResultT:
    """Run a task in an environment that has the packages of one side, and besides what a child itself imports."""
    pins = [f"{name}=={version}" for name, version in side.packages.items()]
    needed = {name for name in CHILD if name not in side.packages and not name.startswith(_RUNTIME)}
    wanted = sorted([*pins, *needed])
    apart = Apart(key_environment(wanted), lambda: (task, ensure_environment(wanted, run.store, run.progress)))
    return run.runner.run(task, apart, of=of)


def _require_same(run: Build, found: Replay) -> None:
    """Make sure that no answer moved by more than the tolerance.

    Raises:
        ParityError: one did; with a table of what differs where.
    """
    words = ", ".join(found.moved)
    parts = (("those by the old lock", found.rows), ("the source model's", found.source_rows))
    failed = {of: [row for row in rows if row.reason] for of, rows in parts}
    if not any(failed.values()) and found.source_rows:
        return
    told = " and ".join(
        f"{len(rows)} of {plural(len(all_rows), 'answer')} differ from {of}"
        for (of, all_rows), rows in zip(parts, failed.values(), strict=True)
        if rows
    )
    detail = "\n".join(f"against {of}:\n{format_comparisons(rows)}" for of, rows in failed.items() if rows)
    problem = Problem(
        f"target '{run.plan.target}': with {words}, {told or 'nothing was compared'}, by more than {found.tolerance}",
        f"{_STAYS}; if the new answers are right, set `verify.rtol` and `verify.atol`",
        run.plan.file.where("targets", run.plan.target),
        detail,
    )
    raise ParityError(problem, [*found.rows, *found.source_rows])
