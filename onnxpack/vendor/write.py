"""Write a bundle: one tar, which is an OCI image layout too, with the same bytes for the same parts."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import BinaryIO

from onnxpack.core.errors import EngineError, OnnxpackError, SpecError, naming
from onnxpack.core.regular import open_regular
from onnxpack.core.scratch import replace_file, working_folder
from onnxpack.oci.archive import add_stream, place_blob
from onnxpack.oci.layout import INDEX_FILE, MARK, MARK_TEXT
from onnxpack.oci.manifests import Index, write_document
from onnxpack.vendor.bundle import open_bundle
from onnxpack.vendor.collect import Collection
from onnxpack.vendor.index import VENDOR_FILE, write_index


def require_free(path: Path) -> None:
    """Make sure that nothing but a bundle is at a path: that one may be replaced.

    Raises:
        SpecError: something else is there.
    """
    if not path.exists():
        return
    hint = "choose another --output, or move it away"
    if path.is_dir():
        raise SpecError(f"'{path}' is a folder, and a bundle is a file", hint)
    try:
        with open_bundle(path):
            return
    except EngineError:  # a bundle that is cut short
        return
    except OnnxpackError:
        raise SpecError(f"'{path}' is there, and is no bundle", hint) from None


def write_bundle(found: Collection, path: Path) -> int:
    """Write a bundle whole or not at all, and return its size in bytes.

    Raises:
        EngineError: a blob in the store is damaged.
        OSError: there is no room.
    """
    images = Index(tuple(sorted(found.images, key=lambda one: (str(one.annotations), str(one.platform)))))
    with naming(path), working_folder(path.absolute().parent) as folder:
        whole = folder / path.name
        with tarfile.open(whole, "w", format=tarfile.PAX_FORMAT) as archive:
            # What tells a reader what is in it comes first.
            for name, text in (
                (MARK, MARK_TEXT), (VENDOR_FILE, write_index(found.index)), (INDEX_FILE, write_document(images)),
            ):  # fmt: skip
                add_stream(archive, name, len(text), io.BytesIO(text))
            for digest, file in sorted(found.blobs.items()):
                with open_regular(file) as stream:
                    checked = _Checked(stream)
                    add_stream(archive, place_blob(digest), file.stat().st_size, checked)
                    if checked.digest != digest:
                        raise EngineError(f"'{file}' has changed: it is no longer {digest}", "run the command again")
        whole.chmod(0o644)
        replace_file(whole, path)
    return path.stat().st_size


class _Checked:
    """A stream that computes the digest of what is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read bytes, and count them in."""
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        """Return the digest of the bytes so far."""
        return f"sha256:{self._hash.hexdigest()}"
