"""The codec of requests and results, for child processes, the store and keys.

MessagePack and not JSON, which has no infinities and no NaN. A key is made of the same values as a message, except that
an artifact counts by its digest and not by its path, and a limit on effort does not count.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import SpecError
from onnxpack.core.text import with_article
from onnxpack.spec.messages import shorten
from onnxpack.spec.part import SpecPart
from onnxpack.worker.task import Effort

T = TypeVar("T")


def encode(value: Any, root: Path | None = None) -> bytes:
    """Encode a value as a message; paths below ``root`` become relative to it.

    Raises:
        SpecError: it holds a name of a file that is no text: Linux allows any bytes, and neither a message nor the
            libraries that read models can carry them.
    """

    def convert(item: Any) -> Any:
        if isinstance(item, Path):
            return str(item.relative_to(root) if root and item.is_relative_to(root) else item)
        if isinstance(item, Artifact):
            return [convert(item.path), item.digest]
        if isinstance(item, SpecPart):
            return item.to_json()
        if isinstance(item, Effort):
            return item.seconds
        raise TypeError(f"a request or result cannot hold {with_article(type(item).__name__)}")

    try:
        return msgspec.msgpack.encode(value, enc_hook=convert)
    except UnicodeEncodeError as error:
        shown = error.object.encode("utf-8", "backslashreplace").decode()
        raise SpecError(f"'{shorten(shown)}' is not in UTF-8", "give the file or folder another name") from None


def decode(data: bytes, kind: type[T], root: Path | None = None) -> T:
    """Decode a message to a value of type ``kind``; relative paths are below ``root``.

    Raises:
        ValueError: the message holds no such value.
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
        raise TypeError(f"a request or result cannot hold {with_article(wanted.__name__)}")

    return msgspec.msgpack.decode(data, type=kind, dec_hook=convert)


def digest_value(value: Any) -> str:
    """Return the SHA-256 of a value, which does not depend on where its files are."""

    def convert(item: Any) -> Any:
        if isinstance(item, Artifact):
            return item.digest
        if isinstance(item, SpecPart):
            return item.key_form()
        if isinstance(item, Effort):
            return None
        # A path as such would make the key depend on the machine: what a task reads is an artifact.
        raise TypeError(f"a key cannot be made of {with_article(type(item).__name__)}")

    packed = msgspec.msgpack.encode(value, enc_hook=convert, order="deterministic")
    return hashlib.sha256(packed).hexdigest()
