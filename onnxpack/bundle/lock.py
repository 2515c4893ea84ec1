"""The lock beside a spec: each target's Python packages by version and hashes, and its base image by digest.

It holds no URLs, so any mirror of packages serves.
"""

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxpack.bundle.added import check_runtime, find_unused
from onnxpack.core.errors import Location, Problem, SpecError, naming
from onnxpack.core.regular import open_regular
from onnxpack.core.scratch import make_temporary_folder, replace_file, working_folder
from onnxpack.oci.reference import parse_reference
from onnxpack.spec.model import Spec
from onnxpack.targets import load_device
from onnxpack.worker.uv import list_image_options, run_uv, write_requirements

FORMAT = 2
"""The version of a lock's layout; a lock of another one is refused, and has to be made again."""
_LIMIT = 16 * 2**20  # bytes; a target with CUDA has 30 kB
_PARTS = {
    "name": r"[a-z0-9][a-z0-9._-]{,99}",
    "version": r"[A-Za-z0-9][A-Za-z0-9.!+_-]{,99}",
    "sha256": r"[0-9a-f]{64}",
}
"""The patterns of a package's parts: they become words of a requirements file, where a space would add an option."""
_HTTP = ("httptools>=0.6", "orjson>=3.10")
SERVER_REQUIREMENTS = {"none": (), "http": _HTTP, "http+grpc": (*_HTTP, "grpcio>=1.78")}


@dataclass(frozen=True)
class Package:
    """A distribution at a version, with the SHA-256 of each wheel or archive of it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    requires: tuple[str, ...] = ()
    """The names of all distributions that it requires, also of those that no image needs."""

    def requirement(self) -> str:
        """Return the package as a line of a requirements file, with its hashes."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class LockedBase:
    """A base image as the spec names it, and the digest that its registry had under that name."""

    reference: str
    digest: str

    @property
    def pinned(self) -> str:
        """Return the name that always means the same image."""
        name, _, tag = self.reference.rpartition(":")
        return f"{self.reference if '/' in tag or not name else name}@{self.digest}"


@dataclass(frozen=True)
class TargetLock:
    """The requirements of one target, the packages that they were resolved to, and its base."""

    python: str
    platform: str
    requirements: tuple[str, ...]
    packages: tuple[Package, ...]
    base: LockedBase | None = None
    """None where it is not pinned: its registry was not asked, or the spec has the digest itself."""


def lock_path(spec: Path) -> Path:
    """Return the path of a spec's lock: ``iris.lock`` for ``iris.yaml``."""
    return spec.with_suffix(".lock")


def make_unresolved_lock(spec: Spec, target: str) -> TargetLock:
    """Return what the spec asks for, as a lock without packages."""
    chosen = spec.targets[target]
    requirements = {
        *load_device(chosen.device).requirements, *SERVER_REQUIREMENTS[spec.runtime.server], *spec.image.requirements,
    }  # fmt: skip
    return TargetLock(spec.image.python, chosen.platform, tuple(sorted(requirements)), ())


def name_base(spec: Spec, target: str) -> str:
    """Return the base image of a target as the spec names it, else its device's own."""
    return spec.image.base or load_device(spec.targets[target].device).base


def read(path: Path) -> dict[str, TargetLock]:
    """Read the targets of a lock, by name.

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
                f"it is not a lock of this onnxpack version: {_words(error)}",
                f"run `onnxpack lock {_spec_of(path)}`",
                Location(str(path)),
            )
        ) from None


def write(path: Path, targets: dict[str, TargetLock]) -> None:
    """Write the lock whole or not at all."""
    data = {
        "onnxpack-lock": FORMAT,
        "targets": {
            name: {
                "python": entry.python,
                "platform": entry.platform,
                "requirements": entry.requirements,
                **({"base": asdict(entry.base)} if entry.base else {}),
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
    # A read-only disk refuses the folder; what a killed process leaves of it goes with the next one.
    with naming(path), working_folder(path.parent) as folder:
        whole = folder / path.name
        whole.write_text(json.dumps(data, indent=1) + "\n")
        replace_file(whole, path)


def resolve(spec: Spec, target: str) -> TargetLock:
    """Ask the package index for the newest packages that fit.

    Raises:
        EngineError: the index cannot be reached, or nothing fits.
    """
    question = make_unresolved_lock(spec, target)
    with make_temporary_folder() as folder:
        listed = run_uv(
            "pip",
            "compile",
            str(write_requirements(list(question.requirements), folder)),
            "--generate-hashes",
            "--no-header",
            "--annotation-style",
            "line",  # one `# via` line for each package, as _packages reads it
            *list_image_options(question.python, question.platform),
            what=f"resolve the Python packages of target '{target}'",
        )
    packages = _packages(listed)
    check_runtime(packages)
    unused = find_unused(spec, target, packages)
    kept = tuple(package for package in packages if package.name not in unused)
    return TargetLock(question.python, question.platform, question.requirements, kept)


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
        raise ValueError("it lists a package twice")
    base = _base(entry["base"]) if "base" in entry else None
    return TargetLock(entry["python"], entry["platform"], tuple(entry["requirements"]), packages, base)


def _base(item: Any) -> LockedBase:
    """Return a base image whose parts are safe in a Dockerfile.

    Raises:
        ValueError: its name or its digest is not written as one.
    """
    found = LockedBase(item["reference"], item["digest"])
    try:
        digest = parse_reference(found.pinned).digest
    except SpecError as error:
        raise ValueError(error.problems[0].message) from None
    if digest != found.digest or "@" in found.reference:
        raise ValueError(f"a base image's digest is {str(found.digest)[:100]!r}")
    return found


def _package(item: Any) -> Package:
    """Return a package whose parts are safe on a line of a requirements file.

    Raises:
        ValueError: a name, a version or a hash is not written as one.
    """
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
