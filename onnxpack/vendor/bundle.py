"""Read a bundle, a tar or the folder that it was unpacked into: every part is checked when it is used."""

import hashlib
import platform as machines
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxpack.bundle.lock import Package
from onnxpack.core.errors import EngineError, OnnxpackError, Problem, SpecError
from onnxpack.core.regular import open_regular
from onnxpack.image.engine import Engine, Image
from onnxpack.oci.archive import open_archive
from onnxpack.oci.copies import Folder
from onnxpack.oci.layout import BLOBS, INDEX_FILE, MARK, BlobSource
from onnxpack.vendor.index import (
    AGAIN,
    INDEX_LIMIT,
    VENDOR_FILE,
    VendoredEnvironment,
    VendoredWheel,
    VendorIndex,
    read_index,
)

_COPY = "copy the file here again, and compare it by `sha256sum`"
_NAMES = re.compile(rf"{re.escape(VENDOR_FILE)}|{MARK}|{re.escape(INDEX_FILE)}|{re.escape(BLOBS)}/[0-9a-f]{{64}}")
_CHUNK = 2**20


@dataclass(frozen=True)
class Bundle:
    """A bundle that is open."""

    path: Path
    index: VendorIndex
    _blobs: BlobSource

    def copy(self, part: str, sha256: str, destination: Path) -> None:
        """Copy a blob to a new file; ``part`` names it in an error.

        Raises:
            EngineError: it is not there, or has other bytes than its digest says.
        """
        found = hashlib.sha256()
        try:
            source = self._blobs.open(f"sha256:{sha256}")
        except EngineError:
            raise EngineError(f"'{self.path}' lacks {part}", _COPY) from None
        with source, destination.open("wb") as target:
            while chunk := source.read(_CHUNK):
                found.update(chunk)
                target.write(chunk)
        if found.hexdigest() != sha256:
            destination.unlink()
            text = f"'{self.path}': {part} is damaged: its sha256 is {found.hexdigest()}, and {sha256} belongs there"
            raise EngineError(text, _COPY)

    def copy_wheels(self, wheels: Sequence[VendoredWheel], folder: Path) -> None:
        """Copy wheels into a folder, under the names by which uv finds them; raise as ``copy`` does."""
        for wheel in wheels:
            self.copy(f"the wheel {wheel.name}", wheel.sha256, folder / wheel.name)


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle: the tar that ``onnxpack vendor`` wrote, or the folder that it was unpacked into.

    Raises:
        SpecError: it is none, or of another format, or holds what no bundle holds.
        EngineError: its end is missing.
        OSError: it cannot be read.
    """
    if path.is_dir():
        if not (path / VENDOR_FILE).is_file():
            raise SpecError(f"the folder '{path}' is no bundle: it has no {VENDOR_FILE}", AGAIN)
        with open_regular(path / VENDOR_FILE, follow=False) as stream:
            index = read_index(stream.read(INDEX_LIMIT + 1), str(path))
        yield Bundle(path, index, Folder(path))
        return
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_archive(path, cut=True))
            with archive.open_file(VENDOR_FILE) as stream:
                data = stream.read(INDEX_LIMIT + 1)
        except tarfile.TarError:
            raise EngineError(f"'{path}' is cut short: it ends within {VENDOR_FILE}", _COPY) from None
        except OnnxpackError:
            raise SpecError(f"'{path}' is no bundle: it is not a tar with a {VENDOR_FILE}", AGAIN) from None
        if foreign := archive.find_foreign(_NAMES):
            raise SpecError(f"'{path}' holds '{foreign[:100]}', which belongs in no bundle", AGAIN)
        index = read_index(data, str(path))
        names = {f"sha256:{part.sha256}": f"the wheel {part.name}" for part in index.wheels}
        names |= {f"sha256:{part.sha256}": f"the file '{part.url}'" for part in index.sources}
        names |= {part.digest: f"the base image {part.reference}" for part in index.bases}
        if missing := [name for digest, name in names.items() if archive.measure(digest) is None]:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise EngineError(f"'{path}' is cut short: it lacks {missing[0]}{more}", _COPY)
        yield Bundle(path, index, archive)


def fill_wheels(path: Path, packages: Sequence[Package], folder: Path) -> None:
    """Put the wheels of locked packages into an empty folder.

    Raises:
        SpecError: the bundle has no wheel of one: it was made for another lock.
        EngineError: one is damaged.
    """
    with open_bundle(path) as bundle:
        known = {wheel.sha256: wheel for wheel in bundle.index.wheels}
        found = {package: [known[one] for one in package.hashes if one in known] for package in packages}
        if problems := [
            Problem(f"'{path}' has no wheel of {package.name} {package.version} that the lock allows", AGAIN)
            for package, wheels in found.items()
            if not wheels
        ]:
            raise SpecError(problems)
        bundle.copy_wheels([wheel for wheels in found.values() for wheel in wheels], folder)


def fill_environment(path: Path, wanted: Sequence[str], folder: Path) -> None:
    """Put the wheels of a source model's isolated environment into an empty folder.

    Raises:
        SpecError: the bundle has no environment of these requirements for this Python and machine.
        EngineError: a wheel is damaged or missing.
    """
    here = name_python(), machines.machine()
    with open_bundle(path) as bundle:
        found = [one for one in bundle.index.environments if one.requirements == tuple(wanted)]
        fitting = [one for one in found if (one.python, one.machine) == here]
        if not fitting:
            raise SpecError(_explain_missing(path, wanted, found), AGAIN)
        chosen = set(fitting[0].wheels)
        bundle.copy_wheels([wheel for wheel in bundle.index.wheels if wheel.sha256 in chosen], folder)


def name_python() -> str:
    """Return this Python's version as far as wheels depend on it: ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _explain_missing(path: Path, wanted: Sequence[str], others: Sequence[VendoredEnvironment]) -> str:
    words = f"'{path}' has no environment for model.requirements ({', '.join(wanted)})"
    if not others:
        return words
    kinds = ", ".join(sorted(f"Python {one.python} on {one.machine}" for one in others))
    return f"{words} that fits Python {name_python()} on {machines.machine()}: it has one for {kinds}"


def take_source(path: Path, sha256: str, destination: Path) -> None:
    """Put a source model's file at a path.

    Raises:
        SpecError: the bundle does not have it.
        EngineError: it is damaged.
    """
    with open_bundle(path) as bundle:
        source = next((one for one in bundle.index.sources if one.sha256 == sha256), None)
        if source is None:
            raise SpecError(f"'{path}' has no file with the sha256 {sha256}, which the spec names by URL", AGAIN)
        bundle.copy(f"the file '{source.url}'", sha256, destination)


def take_base(path: Path, engine: Engine, reference: str, platform: str) -> Image:
    """Give an engine its base image, under the name that a build asks for.

    Raises:
        SpecError: the bundle does not have it; or the engine takes none this way.
        EngineError: it is damaged.
    """
    with open_bundle(path) as bundle:
        bases = bundle.index.bases
    base = next((one for one in bases if (one.reference, one.platform) == (reference, platform)), None)
    if base is None:
        others = ", ".join(sorted({f"{one.reference} for {one.platform}" for one in bases})) or "none"
        text = f"'{path}' does not have the base image {reference} for {platform}; it has {others}"
        raise SpecError(text, AGAIN)
    try:
        return engine.add_base(path, reference, platform, base.digest)
    except EngineError as error:
        text = f"'{path}': the base image {reference} is damaged: {error.problems[0].message}"
        raise EngineError(text, _COPY) from None
