"""The files of a runtime layer: which of the wheels' files it has, and what each is kept or left out for."""

from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.regular import open_regular

FILES_FILE = "files.json"
"""The listing's name, beside the context that it is of."""
_FORMAT = 1
_LIMIT = 64 * 2**20  # bytes; a layer for the CPU has 250 kB


@dataclass(frozen=True)
class Root:
    """A name that a module of an image uses, as ``numpy`` or ``numpy.lib.format``, and the module's path."""

    name: str
    user: str


@dataclass(frozen=True)
class Needs:
    """What images need of their packages.

    Attributes:
        roots: the names that their modules use.
        whole: the distributions that are kept whole, each with what asks for it: another one, or a field of the spec.
    """

    roots: tuple[Root, ...]
    whole: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Why:
    """Why a file is kept or left out: ``how`` is said of the file ``by``, if that is not empty."""

    how: str
    by: str = ""


@dataclass(frozen=True)
class LayerFile:
    """A file of the wheels, by its path below the layer's folder.

    Attributes:
        package: the distribution that it comes from; empty if none says that it is its own.
        size_bytes: as it is in the layer, or as it was in the wheel.
        kept: whether the layer has it.
        why: what keeps it, or why it is left out.
    """

    path: str
    package: str
    size_bytes: int
    kept: bool
    why: Why


@dataclass(frozen=True)
class _Listing:
    onnxpack_files: int
    files: tuple[LayerFile, ...]


def write_files(path: Path, files: tuple[LayerFile, ...]) -> None:
    """Write a layer's listing as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(_Listing(_FORMAT, files))), indent=1) + b"\n")


def read_files(path: Path) -> tuple[LayerFile, ...]:
    """Read a layer's listing.

    Raises:
        SpecError: there is none, or it is not one that this version wrote.
    """
    where = Location(str(path))
    try:
        with open_regular(path) as stream:
            data = stream.read(_LIMIT + 1)
        if len(data) > _LIMIT:
            raise ValueError(f"it has more than {_LIMIT} bytes")
        found = msgspec.json.decode(data, type=_Listing)
        if found.onnxpack_files != _FORMAT:
            raise ValueError(f"its format is {found.onnxpack_files}, and {_FORMAT} is read")
    except OSError as error:
        hint = "build the spec again: a build writes it beside the context"
        raise SpecError(Problem(f"cannot read the list of the layer's files: {error.strerror}", hint, where)) from None
    except (ValueError, RecursionError) as error:
        text = f"it is not a list of files of this onnxpack version: {str(error)[:200]}"
        raise SpecError(Problem(text, "build the spec again", where)) from None
    return found.files
