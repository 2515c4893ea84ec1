"""Ask the package index for the packages of images, and keep the versions that a lock has wherever they still fit."""

import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from onnxpack.bundle.added import check_runtime, find_unused, list_needed
from onnxpack.bundle.lock import Package, TargetLock, make_unresolved_lock
from onnxpack.core.errors import EngineError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.spec.model import Spec
from onnxpack.worker.uv import list_image_options, run_uv, write_requirements


def resolve(spec: Spec, target: str, known: Iterable[Package] = (), moving: Collection[str] | None = ()) -> TargetLock:
    """Ask the package index for packages that fit: of each the version ``known``, if that still does, else the newest.

    ``moving`` are the names of packages whose newest version is taken whatever is known; None means all.

    Raises:
        EngineError: the index cannot be reached, or nothing fits.
        SpecError: the packages hold two onnxruntimes.
    """
    question = make_unresolved_lock(spec, target)
    kept = [] if moving is None else [one for one in known if one.name not in moving]
    with make_temporary_folder() as folder:
        versions = _choose_versions(question, kept, target, folder)
    pins = [f"{name}=={version}" for name, (version, _) in versions.items()]
    wheels = read_wheels(list_wheels(pins, question.python, question.platform, target))
    packages = [
        _make_package(name, version, requires, wheels.get(name, {}))
        for name, (version, requires) in sorted(versions.items())
    ]
    check_runtime(packages)
    needed = list_needed(question.requirements, packages, find_unused(spec, target, packages))
    found = tuple(package for package in packages if package.name in needed)
    return TargetLock(question.python, question.platform, question.requirements, found, device=question.device)


def list_wheels(pins: list[str], python: str, platform: str, target: str) -> str:
    """Return the wheels of exact versions that fit an image, as uv's pylock.toml.

    Raises:
        EngineError: the index cannot be reached, or has one of them no more.
    """
    with make_temporary_folder() as folder:
        return run_uv(
            "pip", "compile", str(write_requirements(pins, folder)), "--no-deps", "--format", "pylock.toml",
            *list_image_options(python, platform),
            what=f"find the wheels of target '{target}'",
        )  # fmt: skip


def _choose_versions(
    question: TargetLock, kept: Iterable[Package], target: str, folder: Path
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the version of each distribution, and the names of what it requires."""
    chosen = folder / "chosen.txt"
    # A file that is there already is how uv is told which versions to keep.
    chosen.write_text("".join(f"{one.name}=={one.version}\n" for one in kept))
    run_uv(
        "pip", "compile", str(write_requirements(list(question.requirements), folder)), "--output-file", str(chosen),
        "--no-header", "--annotation-style", "line",  # one `# via` for each package, as read_versions reads it
        *list_image_options(question.python, question.platform),
        what=f"resolve the Python packages of target '{target}'",
    )  # fmt: skip
    return read_versions(chosen.read_text())


def read_versions(listed: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return what uv lists as ``name==version  # via`` the names of what requires it: versions and requirements."""
    versions: dict[str, str] = {}
    requires: dict[str, set[str]] = defaultdict(set)
    for line in listed.splitlines():
        pin, _, users = line.partition("# via ")
        name, _, version = pin.strip().partition("==")
        if version:
            versions[name] = version
            for user in users.strip().split(", "):
                requires[user].add(name)  # the requirements file, "-r …", is no package's name
    return {name: (version, tuple(sorted(requires[name]))) for name, version in sorted(versions.items())}


def read_wheels(pylock: str) -> dict[str, dict[str, str]]:
    """Return the wheels in a pylock.toml of uv: by package and file name, with the SHA-256 of each."""
    found: dict[str, dict[str, str]] = {}
    for package in tomllib.loads(pylock).get("packages", ()):
        named = {name_wheel(wheel): wheel["hashes"]["sha256"] for wheel in package.get("wheels", ())}
        found[canonicalize_name(package["name"])] = dict(sorted(named.items()))
    return found


def name_wheel(wheel: dict[str, Any]) -> str:
    """Return the file name of a wheel in a pylock.toml."""
    place = wheel.get("name") or wheel.get("url") or wheel.get("path") or ""
    return unquote(urlsplit(place).path).rpartition("/")[2]


def _make_package(name: str, version: str, requires: tuple[str, ...], wheels: dict[str, str]) -> Package:
    """Return a package with the wheels that fit.

    Raises:
        EngineError: there are none.
    """
    if not wheels:
        raise EngineError(f"the package index has no wheel of {name} {version} for the image", "choose another version")
    return Package(name, version, tuple(wheels.values()), requires, tuple(wheels))
