"""Shows a spec with all that it leaves out: its defaults, and what they mean for each target."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from onnxpack.inspection.spelling import UNSET, Notes, document
from onnxpack.parity.compare import Tolerance, choose_tolerance
from onnxpack.pipeline.plan import Plan
from onnxpack.spec.checks import list_all_fields
from onnxpack.spec.constraints import Duration
from onnxpack.spec.decode import list_fields
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import frameworks

_FIRST = ("onnxpack", "name", "version", "description", "extends")


def describe_spec(file: SpecFile) -> dict[str, Any]:
    """Return the spec as JSON values, with its defaults and the consequences for each target."""
    return {
        "kind": "spec",
        "path": str(file.path),
        "root": str(file.root),
        "settings": list(file.settings),
        "spec": _plain(file.spec),
        "targets": {name: _target(file, name) for name in file.spec.targets},
    }


def write_spec_text(file: SpecFile) -> str:
    """Return the spec as YAML that is a valid spec itself; fields that are not set become comments about them."""
    notes: dict[tuple[str, ...], list[str]] = {}
    notes[()] = [f"{file.path.name} with its defaults"]
    shown = _show_fields(file.spec, (), notes)
    for axis in file.spec.axes:
        shown["dynamic_axes"][axis.name] = {"min": axis.min, "opt": axis.opt, "max": axis.max}
    for name in file.spec.targets:
        facts = _target(file, name)
        words = f"on {facts['base']}; compared with {_tolerance(Plan(file, name, Path()))}"
        notes.setdefault(("targets", name), []).append(words)
    known: Notes = notes
    return document(dict(sorted(shown.items(), key=lambda item: item[0] not in _FIRST)), known)


def _target(file: SpecFile, name: str) -> dict[str, Any]:
    plan = Plan(file, name, Path())
    given = _tolerance(plan)
    decided = choose_tolerance("float32", given.precision, given.rtol, given.atol)
    rtol, atol = (None, None) if given.noise_limits else decided
    return {
        "device": plan.device.name,
        "precision": plan.precision,
        "base": plan.base,
        "rtol": rtol,
        "atol": atol,
    }


def _tolerance(plan: Plan) -> Tolerance:
    """Return the tolerance of the target's precision, or of float32 where the precision is still to be chosen."""
    return plan.tolerance("float32" if plan.precision == "auto" else plan.precision)


def _show_fields(value: Any, path: tuple[str, ...], notes: dict[tuple[str, ...], list[str]]) -> dict[str, Any]:
    """Return a dataclass of the spec as fields; those of stages to come are left out until they are set."""
    shown: dict[str, Any] = {}
    kind: Any = type(value)
    # A field of another framework would make the spec invalid.
    foreign = list_all_fields() - set(frameworks()[value.framework].fields) if path == ("model",) else set()
    for name, (definition, annotation) in list_fields(kind).items():
        item = getattr(value, name)
        if name in foreign or (definition.metadata.get("later") and not item):
            continue
        if item is None:
            if path[:1] not in (("inputs",), ("dynamic_axes",)):
                notes.setdefault((*path, name), []).append(f"{name}: not set. {definition.metadata['doc']}")
                shown[name] = UNSET
        elif is_dataclass(item):
            shown[name] = _show_fields(item, (*path, name), notes)
        elif isinstance(item, Mapping) and item and all(map(is_dataclass, item.values())):
            shown[name] = {key: _show_fields(one, (*path, name, key), notes) for key, one in item.items()}
        elif isinstance(item, tuple) and any(map(is_dataclass, item)):
            # A list has no room for comments: what is not set in a step is left out.
            shown[name] = [_drop_unset(_show_fields(one, (*path, name), {})) for one in item]
        else:
            shown[name] = _spell(item, annotation)
    return shown


def _drop_unset(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not UNSET}


def _spell(item: Any, annotation: Any) -> Any:
    """Return a duration with its unit, and any other value as it is."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    markers = [marker for kind in kinds for marker in getattr(kind, "__metadata__", ())]
    if not any(isinstance(marker, Duration) for marker in markers):
        return item
    return f"{item:.9f}".rstrip("0").rstrip(".") + "s"


def _plain(value: Any) -> Any:
    """Return any part of a spec as JSON values, with nothing left out."""
    if is_dataclass(value):
        return {definition.name: _plain(getattr(value, definition.name)) for definition in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
