"""Finds out what a path or a name stands for: a model, a spec, a bundle, a report or an image."""

import re
from pathlib import Path
from typing import Literal

from onnxpack.core.errors import Location, Problem, SpecError

Kind = Literal["onnx", "spec", "specs", "bundle", "report", "archive", "image"]

_BY_SUFFIX: dict[str, Kind] = {".onnx": "onnx", ".yaml": "spec", ".yml": "spec", ".json": "report", ".tar": "archive"}
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")
_ONNX_HEAD = b"\x08"
"""The first byte of a serialised ModelProto that starts with its IR version."""


def kind_of(argument: str) -> Kind:
    """Return the kind of thing to look at; what is not a path is taken for an image's name.

    Raises:
        SpecError: it is nothing that can be looked into.
    """
    from onnxpack.inspection.bundle import is_bundle

    path = Path(argument)
    where = Location(argument)
    if path.is_dir():
        return "bundle" if is_bundle(path) else "specs"
    if path.is_file():
        found = _BY_SUFFIX.get(path.suffix.lower()) or _sniff(path)
        if found:
            return found
        hint = "give an .onnx file, a spec, a bundle, a report.json, an image.tar or an image's name"
        hint += "; for weights use `onnxpack init`"
        raise SpecError(Problem("`inspect` does not know this kind of file", hint, where))
    if path.exists():
        raise SpecError(Problem("it is neither a regular file nor a folder", "give the path of one", where))
    if path.suffix.lower() in _BY_SUFFIX or not _REFERENCE.fullmatch(argument):
        raise SpecError(Problem("there is no such file", "check the path", where))
    return "image"


def _sniff(path: Path) -> Kind | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(1)
    except OSError as error:
        raise SpecError(Problem(f"cannot read it: {error.strerror}", "check the path", Location(str(path)))) from None
    return "onnx" if head == _ONNX_HEAD else None
