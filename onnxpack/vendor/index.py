"""The index of a bundle: what is in it, each part by its digest, and which specs it is for."""

import re
from dataclasses import dataclass
from typing import Annotated

import msgspec

from onnxpack.core.errors import SpecError, flatten_words

FORMAT = 1
"""The version of the index's layout."""
VENDOR_FILE = "vendor.json"
INDEX_LIMIT = 64 * 2**20
"""The most bytes of an index; that of a hundred specs has 50 kB."""
AGAIN = "run `onnxpack vendor SPEC… --output FILE` where there is a network, and bring the new file here"
"""What to do about a bundle that does not have what a build needs."""

_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=2**50)]
_WheelName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+!-]{,250}\.whl\Z")]
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class VendoredWheel:
    """A wheel: the name of its file, its SHA-256 and bytes, and the specs that it is for."""

    name: _WheelName
    sha256: _Digest
    size: _Size
    specs: tuple[str, ...]


@dataclass(frozen=True)
class VendoredEnvironment:
    """The isolated environment of source models: its requirements, and the wheels that they were resolved to.

    The wheels are for one Python, such as ``3.11``, and one machine, such as ``x86_64``.
    """

    requirements: tuple[str, ...]
    python: str
    machine: str
    wheels: tuple[_Digest, ...]
    specs: tuple[str, ...]


@dataclass(frozen=True)
class VendoredBase:
    """A base image under the name that builds ask for: the digest of its manifest, and the bytes of all its blobs."""

    reference: str
    platform: str
    digest: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    size: _Size
    specs: tuple[str, ...]


@dataclass(frozen=True)
class VendoredSource:
    """A source model's file that a spec names by URL: the URL without its login, its SHA-256 and bytes."""

    url: str
    sha256: _Digest
    size: _Size
    specs: tuple[str, ...]


@dataclass(frozen=True)
class VendorIndex:
    """All parts of a bundle, each kind in the order of its names."""

    onnxpack_vendor: int
    wheels: tuple[VendoredWheel, ...] = ()
    environments: tuple[VendoredEnvironment, ...] = ()
    bases: tuple[VendoredBase, ...] = ()
    sources: tuple[VendoredSource, ...] = ()


def write_index(index: VendorIndex) -> bytes:
    """Return the bytes of an index: the same for the same values, one line for each value, for people to read."""
    return msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n"


def read_index(data: bytes, place: str) -> VendorIndex:
    """Read an index; ``place`` names the bundle in an error.

    Raises:
        SpecError: it is none, or of another format.
    """
    try:
        index = msgspec.json.decode(data, type=VendorIndex)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        words = _CONTROL.sub(" ", flatten_words(error, 200))
        raise SpecError(f"'{place}': {VENDOR_FILE} cannot be used: {words}", AGAIN) from None
    if index.onnxpack_vendor != FORMAT:
        words = f"the format of {VENDOR_FILE} is {index.onnxpack_vendor}, and {FORMAT} is read"
        raise SpecError(f"'{place}': {words}", AGAIN)
    return index
