"""Explain why a bundle has a file: the chain of what keeps it, as the build that decided wrote it down."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from onnxpack.bundle.layer import FILES_FILE, LayerFile, Why, read_files
from onnxpack.bundle.render import APP_FOLDER, LIB_FOLDER
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.text import clean, format_bytes, format_section, format_table, plural
from onnxpack.core.values import MODEL
from onnxpack.inspection.report import read_report

_MOST = 20
"""How many files are explained, the largest first, and how many are listed where none is named."""
_COMPILED = re.compile(r"(.*/)?__pycache__/([^/]+)\.cpython-[0-9]+\.pyc")


def explain(bundle: Path, wanted: str) -> dict[str, Any]:
    """Return the facts about the bundle's files that ``wanted`` names, as JSON values; about all if it is empty.

    ``wanted`` is a path in the image, the end of one, or a pattern as of a shell.

    Raises:
        SpecError: the bundle has no list of files, or neither it nor the wheels have such a file.
    """
    context = bundle if (bundle / "Dockerfile").is_file() else bundle / "context"
    listing = context.parent / FILES_FILE
    known = {f"{LIB_FOLDER}/{file.path}": file for file in read_files(listing)}
    files = {**dict(_list_others(context, known)), **known}
    facts = {"kind": "why", "path": str(bundle), "packages": _count_packages(known.values()), "wanted": wanted}
    chosen = _match(files, wanted) if wanted else [path for path, file in files.items() if file.kept]
    if not chosen:
        close = get_close_matches(wanted.rpartition("/")[2], {path.rpartition("/")[2] for path in files}, 3)
        hint = f"like it are: {', '.join(close)}" if close else f"`onnxpack inspect {bundle} --why` lists the largest"
        raise SpecError(
            Problem(f"neither the image nor the wheels have a file '{wanted}'", hint, Location(str(listing)))
        )
    chosen.sort(key=lambda path: (not files[path].kept, -files[path].size_bytes, path))
    reasons = _read_package_reasons(context.parent / "report.json")
    shown = [_explain_file(path, files, reasons) for path in chosen[:_MOST]]
    return {**facts, "files": shown, "more": len(chosen) - len(shown)}


def _list_others(context: Path, known: Mapping[str, LayerFile]) -> Iterator[tuple[str, LayerFile]]:
    """Give the files that come from no wheel: of the model's layer, and what the base's Python compiled."""
    for layer in sorted((context / "rootfs").glob("*")):
        for parent, _, names in sorted(os.walk(layer)):
            for name in sorted(names):
                path = Path(parent, name)
                place = f"/{path.relative_to(layer).as_posix()}"
                if place not in known:
                    yield place, LayerFile(place, "", path.lstat().st_size, True, _explain_other(place))


def _explain_other(place: str) -> Why:
    if compiled := _COMPILED.fullmatch(place):
        source = f"{compiled[1] or ''}{compiled[2]}.py".removeprefix(f"{LIB_FOLDER}/")
        return Why("compiled by the base's Python from", source)
    if PurePosixPath(place).name.startswith(MODEL):
        return Why("the model")
    return Why("made for this model" if place.startswith(APP_FOLDER) else "of no package")


def _match(files: Mapping[str, LayerFile], wanted: str) -> list[str]:
    """Return the paths that ``wanted`` is, or ends; without such those that it matches as a pattern."""
    end = f"/{wanted.lstrip('/')}"
    found = [path for path in files if path == wanted or path.endswith(end)]
    return found or [path for path in files if fnmatchcase(path, wanted) or fnmatchcase(path, f"*{end}")]


def _explain_file(path: str, files: Mapping[str, LayerFile], reasons: Mapping[str, str]) -> dict[str, Any]:
    file = files[path]
    chain, seen = [file.why], {path}
    while (place := f"{LIB_FOLDER}/{chain[-1].by}") in files and place not in seen:
        seen.add(place)
        chain.append(files[place].why)
    return {
        "path": path,
        "size_bytes": file.size_bytes,
        "package": file.package,
        "kept": file.kept,
        "reasons": [asdict(why) for why in chain],
        "package_reason": reasons.get(file.package, ""),
    }


def _count_packages(files: Iterable[LayerFile]) -> list[dict[str, Any]]:
    """Return each distribution with the bytes and files that the layer has of it, and those left out."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for file in files:
        counts = found[file.package]
        counts[0 if file.kept else 2] += file.size_bytes
        counts[1 if file.kept else 3] += 1
    names = ("size_bytes", "files", "left_out_bytes", "left_out_files")
    rows = [{"name": name, **dict(zip(names, counts, strict=True))} for name, counts in found.items() if name]
    return sorted(rows, key=lambda row: (-row["size_bytes"], row["name"]))


def _read_package_reasons(report: Path) -> dict[str, str]:
    """Return why the image has each distribution, where the report beside the bundle says so."""
    try:
        packages = read_report(report).get("packages")
    except SpecError:
        return {}
    rows = [row for row in packages if isinstance(row, dict)] if isinstance(packages, list) else []
    return {str(row.get("name")): str(row["reason"]) for row in rows if row.get("reason")}


def format_explanation(facts: dict[str, Any]) -> list[str]:
    """Return what ``explain`` gives as lines for a person."""
    lines = []
    if facts["wanted"]:
        for file in facts["files"]:
            lines += ["", *_format_file(file)]
        return [*lines[1:], *_format_rest(facts)]
    rows = [("", "kept", "files", "left out", "files")]
    for row in facts["packages"]:
        left_out = format_bytes(row["left_out_bytes"])
        rows.append((row["name"], format_bytes(row["size_bytes"]), row["files"], left_out, row["left_out_files"]))
    largest = [(format_bytes(file["size_bytes"]), file["path"], _say(file["reasons"][0])) for file in facts["files"]]
    return [
        f"{clean(facts['path'])}: what its files are for",
        *format_section("packages", format_table(rows, right=range(1, 5))),
        *format_section("largest files", format_table(largest, right=(0,))),
        *_format_rest(facts),
    ]


def _format_file(file: dict[str, Any]) -> Iterator[str]:
    package = f" of {clean(file['package'])}" if file["package"] else ""
    gone = "" if file["kept"] else ", left out"
    yield f"{clean(file['path'])}: {format_bytes(file['size_bytes'])}{package}{gone}"
    yield from (f"  {_say(why)}" for why in file["reasons"])
    if file["package_reason"]:
        yield f"  the package: {clean(file['package_reason'])}"


def _say(why: dict[str, str]) -> str:
    return clean(f"{why['how']} {why['by']}".strip())


def _format_rest(facts: dict[str, Any]) -> list[str]:
    return ["", f"and {plural(facts['more'], 'more file')}"] if facts["more"] else []
