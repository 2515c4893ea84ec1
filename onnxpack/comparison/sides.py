"""Finds out what an argument of a comparison names, and reads the facts of it."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.bundle.lock import Lock, lock_path, read_lock
from onnxpack.comparison.facts import (
    Facts,
    read_bundle_facts,
    read_image_facts,
    read_report_facts,
    read_spec_facts,
)
from onnxpack.comparison.revision import read_committed, split_revision
from onnxpack.core.errors import Location, Problem, SpecError, describe_error
from onnxpack.inspection.bundle import bundle_facts
from onnxpack.inspection.image import archive_facts, image_facts
from onnxpack.inspection.kinds import kind_of
from onnxpack.inspection.report import read_report
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec

_REPORT = "report.json"
_HINT = "give a report.json, an output's folder, an image, an image.tar, a spec, or REVISION:path/spec.yaml"


@dataclass(frozen=True)
class Side:
    """One side of a comparison, and what could not be read of it."""

    facts: Facts
    notes: tuple[str, ...] = ()


def read_side(argument: str, target: str | None, *, sandbox: bool = False) -> Side:
    """Read what an argument names; ``target`` chooses among those of a spec.

    Raises:
        SpecError: there is no such thing, it cannot be compared, or a spec has several targets and none was chosen.
        SourceError: a bundle's model is no ONNX file.
        EngineError: an image's engine, or Git, does not do its part.
    """
    if revision := split_revision(argument):
        committed = read_committed(*revision)
        return Side(_read_spec(committed.spec, target, committed.lock, argument), committed.notes)
    kind = kind_of(argument)
    path = Path(argument)
    if kind == "spec":
        place = lock_path(path)
        lock = read_lock(place) if place.exists() else None
        notes = () if lock else (f"{argument} has no {place.name}",)
        return Side(_read_spec(load(path).spec, target, lock, argument), notes)
    if kind == "archive":
        return Side(read_image_facts(archive_facts(path), kind, argument))
    if kind == "image":
        return Side(read_image_facts(image_facts(argument), kind, argument))
    if kind == "report":
        return Side(_read_report(path, kind, argument))
    if kind in ("bundle", "specs") and (path / _REPORT).is_file():  # a build that failed left its reports alone
        return Side(_read_report(path / _REPORT, "bundle", argument))
    if kind == "bundle":
        return Side(read_bundle_facts(bundle_facts(path, sandbox=sandbox), argument))
    raise SpecError(Problem("`diff` cannot compare this", _HINT, Location(argument)))


def _read_report(path: Path, kind: str, argument: str) -> Facts:
    report = read_report(path)
    try:
        return read_report_facts(report, kind, argument)
    # What a report holds of another form, its reader meets as any of these.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        text = "it is not a report of this onnxpack version"
        raise SpecError(Problem(text, describe_error(error, 200), Location(str(path)))) from None


def _read_spec(spec: Spec, target: str | None, lock: Lock | None, argument: str) -> Facts:
    names = ", ".join(spec.targets)
    if target is not None and target not in spec.targets:
        raise SpecError(Problem(f"it has no target '{target}'", f"choose one of: {names}", Location(argument)))
    if target is None and len(spec.targets) > 1:
        raise SpecError(Problem(f"it has several targets: {names}", "choose one by --target NAME", Location(argument)))
    return read_spec_facts(spec, target or next(iter(spec.targets)), lock, argument)
