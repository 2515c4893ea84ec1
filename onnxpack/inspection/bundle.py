"""Looks into what a build left: ``dist/<name>/<target>``, or the context in it."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.values import MODEL
from onnxpack.inspection.child import onnx_facts
from onnxpack.inspection.report import read_report

_LARGEST = 8
"""How many files of a layer are listed, the largest first."""
_MAX_TEXT = 1 << 20
"""The most characters that are read of a text, which may come from anywhere."""


def is_bundle(folder: Path) -> bool:
    """Return whether a folder looks like a build's output or a build context."""
    return (folder / "Dockerfile").is_file() or (folder / MODEL).is_file() or (folder / "context/Dockerfile").is_file()


def bundle_facts(folder: Path, *, sandbox: bool = False) -> dict[str, Any]:
    """Return the facts about a bundle as JSON values; sizes are in bytes, ``sandbox`` is for what reads the model.

    Raises:
        SpecError: its Dockerfile or report cannot be read.
        SourceError: its model is no ONNX file.
    """
    context = folder if (folder / "Dockerfile").is_file() else folder / "context"
    layers = [_layer(path) for path in sorted((context / "rootfs").glob("*")) if path.is_dir()]
    metadata = sorted(context.glob("rootfs/*/**/*.dist-info/METADATA"))
    models = [folder / MODEL, *sorted(context.glob(f"rootfs/*/opt/*/*/{MODEL}"))]
    model = next((path for path in models if path.is_file()), None)
    report = folder / "report.json"
    return {
        "kind": "bundle",
        "path": str(folder),
        "dockerfile": read_dockerfile(context / "Dockerfile") if (context / "Dockerfile").is_file() else None,
        "layers": sorted(layers, key=lambda layer: -layer["size_bytes"]),
        "packages": [_package(path) for path in metadata if path.is_file()],
        "model": onnx_facts(model, sandbox=sandbox) if model else None,
        "report": read_report(report) if report.is_file() else None,
    }


def _layer(folder: Path) -> dict[str, Any]:
    files = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    sizes = {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files}
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_LARGEST]
    return {
        "name": folder.name,
        "size_bytes": sum(sizes.values()),
        "files": len(sizes),
        "largest": [{"path": path, "size_bytes": count} for path, count in largest],
    }


def _package(metadata: Path) -> dict[str, str]:
    found = {"name": metadata.parent.name.partition("-")[0], "version": ""}
    with metadata.open(encoding="utf-8", errors="replace") as stream:
        for line in stream.read(_MAX_TEXT).splitlines():
            key, _, value = line.partition(":")
            if not line:
                break
            if key in ("Name", "Version"):
                found[key.lower()] = value.strip()
    return found


def read_dockerfile(path: Path) -> dict[str, Any]:
    """Read what the image will be from the instructions of a Dockerfile that onnxpack rendered.

    Raises:
        SpecError: it cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as stream:
        instructions = list(_instructions(stream.read(_MAX_TEXT)))
    try:
        words = {name: [word for key, rest in instructions if key == name for word in shlex.split(rest)]
                 for name in ("LABEL", "ENV")}  # fmt: skip
    except ValueError as error:
        hint = "use the Dockerfile that `onnxpack build` wrote"
        raise SpecError(Problem(f"its quotes do not close: {error}", hint, Location(str(path)))) from None
    last = dict(instructions)
    return {
        "base": last.get("FROM"),
        "user": last.get("USER"),
        "port": last.get("EXPOSE"),
        "entrypoint": last.get("ENTRYPOINT"),
        "healthcheck": last.get("HEALTHCHECK"),
        "env": dict(_pairs(words["ENV"])),
        "labels": dict(_pairs(words["LABEL"])),
    }


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            yield name.upper(), " ".join(rest.split())


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, _, value = word.partition("=")
        yield key, value.replace("\\$", "$")
