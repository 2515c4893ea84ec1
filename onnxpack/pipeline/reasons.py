"""Says in words why work has to be done: what of its request, or of what it had read, is another than it was."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxpack.cache.changes import digest_importable, digest_listing
from onnxpack.cache.trace import Trace, digest_content, digest_module, find_version
from onnxpack.core.text import clean
from onnxpack.pipeline.receipts import History
from onnxpack.pipeline.records import StageRecord
from onnxpack.pipeline.requests import Step

_SHORT = 40
"""How many characters of a value are shown."""
_DIGEST = {"digest"}
_PART = {"place", "spec", "files"}
_PACKAGE = {"name", "version"}
INPUT_CHANGES = "its input changes"
NEVER = "it was never built here"
GONE = "its stored result is gone"
_MOST = 20
"""How many reasons a report gives for one piece of work."""


def explain_step(new: Step, history: History, root: Path) -> list[str]:
    """Return why a step of the last build cannot serve for a new one; nothing if it had none, or what differs is gone.

    ``root`` is the work tree, which the files of a trace are relative to.
    """
    old = history.find(new)
    if old is None:
        return []
    found = [*compare_steps(old, new), *compare_trace(old.trace, root)]
    if not found and history.python != platform.python_version():
        found = [f"Python {history.python} → {platform.python_version()}"]
    return list(dict.fromkeys(found))


def explain_records(
    records: Iterable[StageRecord], steps: Iterable[Step], last: History | None, root: Path
) -> Iterator[StageRecord]:
    """Yield the records of a build, those of work that was done with why: by the ``last`` build, if there was one."""
    by_name = {(step.name, step.of): step for step in steps}
    for record in records:
        step = by_name.get((record.name, record.of))
        if record.cached or step is None:
            yield record
            continue
        why = explain_step(step, last, root) if last else []
        why = why or [GONE if last and last.find(step) else NEVER]
        more = [f"and {len(why) - _MOST} more"] if len(why) > _MOST else []
        yield replace(record, why=(*why[:_MOST], *more))


def compare_steps(old: Step, new: Step) -> list[str]:
    """Return what differs between two requests for the same work."""
    found = list(_compare("", old.request, new.request))
    if old.environment != new.environment:
        found.append("the packages of its environment changed")
    return list(dict.fromkeys(found))


def compare_trace(trace: Trace, root: Path) -> list[str]:
    """Return what of the files, folders, modules and packages that work had read is another one now."""
    looks = (
        (trace.files, digest_content, "{} changed"),
        (trace.folders, digest_listing, "the names of files in {} changed"),
        (trace.imports, digest_importable, "the modules in {} changed"),
    )
    found = [
        words.format(clean(name))
        for known, look, words in looks
        for name, digest in known.items()
        if look(root / name) != digest
    ]
    found += [f"{name} changed" for name, digest in trace.modules.items() if digest_module(name) != digest]
    if not trace.isolated:
        now = {name: find_version(name) for name in trace.distributions}
        found += [f"{name} {old} → {now[name]}" for name, old in trace.distributions.items() if now[name] != old]
    return found


def compare_fields(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield each field of a spec that is another one, as ``calibration.method minmax → entropy``."""
    for name in dict.fromkeys((*old, *new)):
        place = f"{path}.{name}" if path else name
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if _is_mapping(before) and _is_mapping(after):
            yield from compare_fields(before or {}, after or {}, place)
        elif name not in new:
            yield f"{place} {_show(before)} was taken away"
        elif name not in old:
            yield f"{place} was set to {_show(after)}"
        else:
            yield f"{place} {_show(before)} → {_show(after)}"


def _is_mapping(value: Any) -> bool:
    """Return whether a value is one that is told by its fields; one that is not there has none."""
    return value is None or (isinstance(value, Mapping) and bool(value))


def _compare(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _compare_mappings(path, old, new)
    elif _is_list_of(_PACKAGE, old) and _is_list_of(_PACKAGE, new):
        yield from compare_packages(old, new)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _compare(f"{path}[{index}]", before, after)
    else:
        yield f"{path or 'its request'} {_show(old)} → {_show(new)}"


def _compare_mappings(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old.keys() == new.keys() == _DIGEST:
        yield INPUT_CHANGES
    elif old.keys() == new.keys() == _PART:
        yield from _compare_parts(old, new)
    else:
        for name in dict.fromkeys((*old, *new)):
            yield from _compare(f"{path}.{name}".removeprefix("."), old.get(name), new.get(name))


def _compare_parts(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old["place"] != new["place"]:
        yield f"the spec's folder {old['place']} → {new['place']}"
    yield from compare_fields(old["spec"], new["spec"])
    for name, digest in new["files"].items():
        if old["files"].get(name, digest) != digest:
            yield f"{clean(name)} changed"


def compare_packages(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    """Yield each package of two locks that is another one, as ``onnxruntime 1.31.1 → 1.32.0 in the lock``."""
    before, after = ({one["name"]: one for one in packages} for packages in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{name} is gone from the lock"
        elif name not in before:
            yield f"{name} {after[name]['version']} is new in the lock"
        elif before[name]["version"] != after[name]["version"]:
            yield f"{name} {before[name]['version']} → {after[name]['version']} in the lock"
        elif before[name] != after[name]:
            yield f"{name} has other hashes in the lock"


def _is_list_of(keys: set[str], value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and keys <= item.keys() for item in value)


def _show(value: Any) -> str:
    return "nothing" if value is None else clean(value, _SHORT)
