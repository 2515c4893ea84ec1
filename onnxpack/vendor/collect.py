"""Find and fetch all that builds of some specs need from outside: wheels, base images and files by URL."""

import platform as machines
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.lock import TargetLock, lock_path, name_base, read, read_lock
from onnxpack.cache.store import Store
from onnxpack.core.errors import Location, OnnxpackError, Problem, SpecError
from onnxpack.core.progress import Progress
from onnxpack.download.local import Bounds
from onnxpack.download.resolve import RemoteFile, fetch_sources, get_file, read_download_limit
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import NAME
from onnxpack.oci.manifests import Descriptor, parse_platform
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import format_source
from onnxpack.vendor.bundle import name_python
from onnxpack.vendor.index import (
    FORMAT,
    VendoredBase,
    VendoredEnvironment,
    VendoredSource,
    VendoredWheel,
    VendorIndex,
)
from onnxpack.worker.environments import choose_requirements, find_environment_wheels, find_pins
from onnxpack.worker.uv import list_image_options
from onnxpack.worker.wheels import IndexWheel, find_wheels

_Part = TypeVar("_Part", VendoredWheel, VendoredEnvironment, VendoredBase, VendoredSource)


@dataclass(frozen=True)
class Chosen:
    """A spec, and those of its targets that are to be built without a network."""

    file: SpecFile
    targets: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the spec's name, which is the same on every machine."""
        return self.file.spec.name

    def read_locks(self) -> dict[str, TargetLock]:
        """Return the lock of each target.

        Raises:
            SpecError: with all that is missing or stale.
        """
        path = lock_path(self.file.path)
        hint, place = f"run `onnxpack lock {self.file.path}`", Location(str(path))
        if not path.exists():
            raise SpecError(Problem("there is no lock", hint, place))
        found = read(path)
        stale = find_stale(self.file.spec, found)
        if problems := [
            Problem(f"the lock does not fit target '{target}': {stale[target]}", hint, place)
            for target in self.targets
            if target in stale
        ]:
            raise SpecError(problems)
        return {target: found[target] for target in self.targets}


@dataclass
class Collection:
    """What was found: each part once, the specs that it is for, and the file of each blob by its digest."""

    parts: dict[Hashable, VendoredWheel | VendoredEnvironment | VendoredBase | VendoredSource] = field(
        default_factory=dict
    )
    users: dict[Hashable, set[str]] = field(default_factory=lambda: defaultdict(set))
    images: list[Descriptor] = field(default_factory=list)
    """The manifests of the base images, each under the name that a build asks for."""
    blobs: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def index(self) -> VendorIndex:
        """Return all parts in a fixed order."""
        return VendorIndex(
            FORMAT,
            self._list(VendoredWheel),
            self._list(VendoredEnvironment),
            self._list(VendoredBase),
            self._list(VendoredSource),
        )

    def _list(self, kind: type[_Part]) -> tuple[_Part, ...]:
        found = [
            replace(part, specs=tuple(sorted(self.users[key])))
            for key, part in self.parts.items()
            if isinstance(part, kind)
        ]
        return tuple(sorted(found, key=repr))


def read_all_locks(chosen: Iterable[Chosen]) -> list[tuple[Chosen, str, TargetLock]]:
    """Return every target of the specs with its lock.

    Raises:
        SpecError: with all that is missing or stale.
    """
    problems: list[Problem] = []
    found: list[tuple[Chosen, str, TargetLock]] = []
    for one in chosen:
        try:
            found += [(one, target, locked) for target, locked in one.read_locks().items()]
        except OnnxpackError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def collect(chosen: Sequence[Chosen], store: Store, progress: Progress) -> Collection:
    """Fetch all that builds of these specs need from outside, into the store, and return what it is.

    Raises:
        SpecError: a lock is missing or stale, or what the index has differs from it.
        EngineError: an index, a registry or a host cannot be reached, or gives something else than what is pinned.
    """
    locks = read_all_locks(chosen)
    collector = _Collector(store, progress, Bounds(("/",), read_download_limit()))
    for one, target, locked in locks:
        collector.add_packages(one, target, locked)
    for one, target, locked in locks:
        collector.add_base(
            one, locked.base.pinned if locked.base else name_base(one.file.spec, target), locked.platform
        )
    for one in chosen:
        collector.add_environment(one)
        collector.add_sources(one)
    return collector.found


@dataclass
class _Collector:
    """Fetches parts; what several specs need is asked for and fetched once."""

    store: Store
    progress: Progress
    bounds: Bounds
    found: Collection = field(default_factory=Collection)
    _answers: dict[Hashable, tuple[IndexWheel, ...]] = field(default_factory=dict)
    """The answers of the package index so far."""

    def add_packages(self, one: Chosen, target: str, locked: TargetLock) -> None:
        """Add the wheels of an image's packages."""
        key = (locked.python, locked.platform, locked.packages)
        if key not in self._answers:
            self.progress.note(f"asking the package index for the wheels of {one.file.spec.name}, target {target}")
            lines = [package.requirement() for package in locked.packages]
            options = list_image_options(locked.python, locked.platform)
            self._answers[key] = find_wheels(lines, options, f"target '{target}'")
        pinned = {sha256: package for package in locked.packages for sha256 in package.hashes}
        wheels = [wheel for wheel in self._answers[key] if wheel.sha256 in pinned]
        missing = set(locked.packages) - {pinned[wheel.sha256] for wheel in wheels}
        if missing:
            names = ", ".join(sorted(f"{package.name} {package.version}" for package in missing))
            text = f"the package index has no wheel with a hash that the lock allows of: {names}"
            place = Location(str(lock_path(one.file.path)))
            raise SpecError(Problem(text, f"run `onnxpack lock {one.file.path}`", place))
        for wheel in wheels:
            self._add_wheel(one, wheel)

    def add_environment(self, one: Chosen) -> None:
        """Add the wheels of a source model's isolated environment, if it asks for one."""
        if not find_pins(one.file.spec.model):
            return
        locked = read_lock(lock_path(one.file.path)).pins.environment
        wanted = tuple(choose_requirements(one.file.spec, locked))
        if wanted not in self._answers:
            self.progress.note("resolving " + ", ".join(wanted))
            self._answers[wanted] = find_environment_wheels(list(wanted))
        wheels = self._answers[wanted]
        for wheel in wheels:
            self._add_wheel(one, wheel)
        digests = tuple(sorted(wheel.sha256 for wheel in wheels))
        self._add(one, wanted, VendoredEnvironment(wanted, name_python(), machines.machine(), digests, ()))

    def add_base(self, one: Chosen, name: str, platform: str) -> None:
        """Add a base image and its blobs."""
        key = (name, platform)
        if key not in self.found.parts:
            engine = OciEngine()
            layout, entry = engine.export(engine.require_base(name, platform, self.progress).id, "")
            manifest = layout.read_manifest(entry)
            blobs = {blob.digest: blob.size for blob in (entry, manifest.config, *manifest.layers)}
            self.found.blobs |= {digest: layout.path(digest) for digest in blobs}
            self.found.images.append(replace(entry, platform=parse_platform(platform), annotations={NAME: name}))
            self.found.parts[key] = VendoredBase(name, platform, entry.digest, sum(blobs.values()), ())
        self.found.users[key].add(one.name)

    def add_sources(self, one: Chosen) -> None:
        """Add the files that a spec names by URL."""
        sha256 = one.file.spec.model.sha256
        for url, path in fetch_sources(one.file, self.store, self.progress).fetched.items():
            assert sha256
            self._add_file(one, VendoredSource(format_source(url), sha256, 0, ()), Path(path))

    def _add_wheel(self, one: Chosen, wheel: IndexWheel) -> None:
        path = get_file(RemoteFile(wheel.url, wheel.sha256, self.bounds), self.store, self.progress)
        self._add_file(one, VendoredWheel(wheel.name, wheel.sha256, 0, ()), path)

    def _add_file(self, one: Chosen, part: VendoredWheel | VendoredSource, path: Path) -> None:
        self.found.blobs[f"sha256:{part.sha256}"] = path
        self._add(one, part, replace(part, size=path.stat().st_size))

    def _add(self, one: Chosen, key: Hashable, part: VendoredWheel | VendoredEnvironment | VendoredSource) -> None:
        self.found.parts[key] = part
        self.found.users[key].add(one.name)
