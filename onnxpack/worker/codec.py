"""One codec for requests and results: over the process border, into the store, and into keys.

MessagePack and not JSON, which has no infinities and no NaN. A key is made of the same values as a message, except that
an artifact counts by its digest and not by its path, and a limit on effort does not count.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from onnxpack.artifacts import Artifact
from onnxpack.spec.part import SpecPart
from onnxpack.worker.task import Effort

T = TypeVar("T")


def encode(value: Any, root: Path | None = None) -> bytes:
    """Return the message of a value; paths below ``root`` become relative to it."""

    def convert(item: Any) -> Any:
        if isinstance(item, Path):
            return str(item.relative_to(root) if root and item.is_relative_to(root) else item)
        if isinstance(item, Artifact):
            return [convert(item.path), item.digest]
        if isinstance(item, SpecPart):
            return item.to_json()
        if isinstance(item, Effort):
            return item.seconds
        raise TypeError(f"a request or result cannot hold a {type(item).__name__}")

    return msgspec.msgpack.encode(value, enc_hook=convert)


def decode(data: bytes, kind: type[T], root: Path | None = None) -> T:
    """Return the value of a message; relative paths are below ``root``.

    Raises:
        ValueError: the message is not one of such a value.
    """

    def place(text: str) -> Path:
        return root / text if root else Path(text)

    def convert(wanted: type, item: Any) -> Any:
        if wanted is Artifact:
            path, digest = item
            if not isinstance(digest, str):
                raise ValueError(f"a digest is text, not {type(digest).__name__}")
            return Artifact(place(path), digest)
        if wanted is SpecPart:
            return SpecPart.from_json(item)
        if wanted is Effort:
            return Effort(item)
        if issubclass(wanted, Path):
            return place(item)
        raise TypeError(f"a request or result cannot hold a {wanted.__name__}")

    return msgspec.msgpack.decode(data, type=kind, dec_hook=convert)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value, which is the same for the same content at any place."""

    def convert(item: Any) -> Any:
        if isinstance(item, Artifact):
            return item.digest
        if isinstance(item, SpecPart):
            return item.key_form()
        if isinstance(item, Effort):
            return None
        # A path as such would make the key depend on the machine: what a task reads is an artifact.
        raise TypeError(f"a key cannot be made of a {type(item).__name__}")

    packed = msgspec.msgpack.encode(value, enc_hook=convert, order="deterministic")
    return hashlib.sha256(packed).hexdigest()
