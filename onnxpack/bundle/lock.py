"""The lock beside a spec: each target's Python packages by version and hashes; no URLs, so any mirror serves."""

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpack.bundle.uv import for_image, uv, write_requirements
from onnxpack.errors import Location, Problem, SpecError
from onnxpack.regular import open_regular
from onnxpack.scratch import temporary_folder
from onnxpack.spec.model import Spec
from onnxpack.targets import device

FORMAT = 2
_LIMIT = 16 * 2**20  # bytes; a target with CUDA has 30 kB
_PARTS = {
    "name": r"[a-z0-9][a-z0-9._-]{,99}",
    "version": r"[A-Za-z0-9][A-Za-z0-9.!+_-]{,99}",
    "sha256": r"[0-9a-f]{64}",
}
_SERVER_REQUIREMENTS = {"none": (), "http": ("httptools>=0.6", "uvicorn>=0.30")}


@dataclass(frozen=True)
class Package:
    """A distribution at a version, with the SHA-256 of each wheel or archive of it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    requires: tuple[str, ...] = ()
    """The names of all distributions that it requires, also of those that no image needs."""

    def requirement(self) -> str:
        """A line of a requirements file."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class TargetLock:
    """What one target asked for, and what it got."""

    python: str
    platform: str
    requirements: tuple[str, ...]
    packages: tuple[Package, ...]


def lock_path(spec: Path) -> Path:
    """``iris.yaml`` → ``iris.lock``."""
    return spec.with_suffix(".lock")


def wanted(spec: Spec, target: str) -> TargetLock:
    """What the spec asks for, nothing resolved yet."""
    chosen = spec.targets[target]
    requirements = device(chosen.device).requirements + _SERVER_REQUIREMENTS[spec.runtime.server]
    return TargetLock(spec.image.python, chosen.platform, tuple(sorted(requirements)), ())


def read(path: Path) -> dict[str, TargetLock]:
    """The lock's targets.

    Raises:
        SpecError: it is not a lock that this version wrote.
    """
    try:
        with open_regular(path) as stream:
            text = stream.read(_LIMIT + 1)
        if len(text) > _LIMIT:
            raise ValueError(f"it has more than {_LIMIT} bytes")
        data = json.loads(text)
        if data["onnxpack-lock"] != FORMAT:
            raise ValueError(f"its format is {str(data['onnxpack-lock'])[:20]}, and {FORMAT} is read")
        return {name: _target(entry) for name, entry in data["targets"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError(
            Problem(
                f"not a lock of this version: {_words(error)}", f"onnxpack lock {_spec_of(path)}", Location(str(path))
            )
        ) from None


def write(path: Path, targets: dict[str, TargetLock]) -> None:
    """Writes the lock whole or not at all."""
    data = {
        "onnxpack-lock": FORMAT,
        "targets": {
            name: {
                "python": entry.python,
                "platform": entry.platform,
                "requirements": entry.requirements,
                "packages": [
                    {
                        "name": package.name,
                        "version": package.version,
                        "requires": package.requires,
                        "sha256": package.hashes,
                    }
                    for package in entry.packages
                ],
            }
            for name, entry in sorted(targets.items())
        },
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(data, indent=1) + "\n")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def resolve(spec: Spec, target: str) -> TargetLock:
    """Asks the package index for the newest packages that fit.

    Raises:
        EngineError: the index cannot be reached, or nothing fits.
    """
    question = wanted(spec, target)
    unused = device(spec.targets[target].device).unused
    with temporary_folder() as folder:
        listed = uv(
            "pip",
            "compile",
            str(write_requirements(list(question.requirements), folder)),
            "--generate-hashes",
            "--no-header",
            "--annotation-style",
            "line",
            *for_image(question.python, question.platform),
            what=f"resolve the Python packages of target '{target}'",
        )
    packages = tuple(package for package in _packages(listed) if package.name not in unused)
    return TargetLock(question.python, question.platform, question.requirements, packages)


def _packages(listed: str) -> list[Package]:
    """Return what uv lists: ``name==version``, then its hashes, then ``# via`` the names of what requires it."""
    found: dict[str, tuple[str, list[str]]] = {}
    requires: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in listed.splitlines():
        word = line.strip().removesuffix("\\").strip()
        if word.startswith("--hash=sha256:"):
            found[name][1].append(word.removeprefix("--hash=sha256:"))
        elif word.startswith("# via "):
            for parent in word.removeprefix("# via ").split(", "):
                requires[parent].append(name)  # the requirements file, "-r …", is no package's name
        elif "==" in word:
            name, _, version = word.partition("==")
            found[name] = (version, [])
    return [
        Package(name, version, tuple(sorted(hashes)), tuple(sorted(requires[name])))
        for name, (version, hashes) in sorted(found.items())
    ]


def _target(entry: Any) -> TargetLock:
    packages = tuple(_package(item) for item in entry["packages"])
    if len({package.name for package in packages}) < len(packages):
        raise ValueError("a package stands twice in it")
    return TargetLock(entry["python"], entry["platform"], tuple(entry["requirements"]), packages)


def _package(item: Any) -> Package:
    """A package whose parts are safe on a line of a requirements file."""
    parts = [("name", item["name"]), ("version", item["version"])]
    parts += [("sha256", value) for value in item["sha256"] or [""]] + [("name", value) for value in item["requires"]]
    for part, value in parts:
        if not re.fullmatch(_PARTS[part], value):
            raise ValueError(f"a package's {part} is {str(value)[:100]!r}")
    return Package(item["name"], item["version"], tuple(item["sha256"]), tuple(item["requires"]))


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _spec_of(path: Path) -> Path:
    return path.with_suffix(".yaml")
