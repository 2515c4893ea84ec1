"""Receipts: what a build that passed had read, and what it left, so that the same build is known to have nothing to do.

A look at a receipt takes a few milliseconds: no YAML is parsed, no chain walked, and files are read only where their
times do not say that they are as they were. Whatever is in doubt counts as changed, and the chain is walked.
"""

import contextlib
import hashlib
import os
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from onnxpack.cache.changes import State, digest_importable, digest_listing, file_state
from onnxpack.cache.known import Entry, KnownFile, digest_entries, list_entries
from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError
from onnxpack.core.holds import note_use
from onnxpack.core.regular import read_regular
from onnxpack.core.text import clean
from onnxpack.pipeline.installation import digest_installation
from onnxpack.pipeline.present import Present
from onnxpack.pipeline.requests import Step
from onnxpack.worker.codec import decode, digest_value, encode

KindT = TypeVar("KindT")

_FOLDER = "receipts"
_LIMIT = 64 * 2**20  # bytes; one of a small model has 20 kB


@dataclass(frozen=True)
class Asked:
    """What a build was asked for: all options that its results depend on; its fields are the key of a receipt."""

    spec: str
    """The absolute path of the spec, links followed."""
    output: str
    """The absolute path of the folder for the outputs of all specs."""
    settings: tuple[str, ...] = ()
    trust: bool = False
    sandbox: bool = False
    until: str = "smoke"
    engine: str = ""
    base: str | None = None
    """The absolute path of the archive that the base image is taken from."""
    compression: str = ""
    budget: float = 0.0
    require_gates: bool = False
    reproduce: bool = False
    push: bool = False
    vendor: str | None = None
    """The absolute path of the bundle that all is taken from which comes from outside."""


@dataclass(frozen=True)
class Outline:
    """What reading a spec gave, and what was read."""

    key: str
    installation: str
    root: str
    """The work tree."""
    name: str
    targets: tuple[str, ...]
    files: tuple[KnownFile, ...]
    """Its own file, those that it extends, and those that it names."""


@dataclass(frozen=True)
class Receipt:
    """What a build of one target read, and what it left."""

    key: str
    installation: str
    asked: Asked
    name: str
    target: str
    root: str
    output: str
    """The folder of its outputs."""
    result: str
    """What the build printed on stdout: an image's reference, or a path."""
    files: tuple[KnownFile, ...]
    folders: dict[str, str]
    """The folders that code of the model listed, with the digests of the names in them."""
    imports: dict[str, str]
    """The folders that were searched for modules, with the digests of the modules in them."""
    outputs: str
    """The digest of all that is in the folder of its outputs, by ``digest_entries``."""
    images: dict[str, str]
    """The ids that the base and the image have in the engine, by their names there."""
    parts: dict[str, State]
    """The files that hold the image, where no daemon does."""
    image: str | None = None
    """The id of the image."""
    references: tuple[str, ...] = ()
    pushed: str | None = None
    """The image in its registry, as ``repository@sha256:…``."""
    on_gpu: bool | None = None
    """Whether its image was tested on a GPU; None for a CPU image."""


@dataclass(frozen=True)
class History:
    """What tells why a target changed: what its last build worked on, and what it left."""

    steps: tuple[Step, ...] = ()
    outputs: tuple[Entry, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    """The spec as ``to_plain`` gives it."""
    signature: dict[str, Any] = field(default_factory=dict)
    """What clients see, by ``describe_signature``."""
    content: str = ""
    """The content key of the build context; empty where none was made."""
    base: str = ""
    """The id of the base image."""
    python: str = ""
    """The version of the Python that built it."""

    def find(self, new: Step) -> Step | None:
        """Return the step that did the same work in the last build, whatever it was asked."""
        return next((step for step in self.steps if (step.name, step.of) == (new.name, new.of)), None)


@dataclass(frozen=True)
class Last:
    """The place of the receipt of a target's last build, whatever was asked for."""

    key: str
    receipt: str


def find_outline(store: Store, asked: Asked, present: Present) -> Outline | None:
    """Return what reading a spec gave, if reading it again would give the same."""
    found = _read(store, make_outline_key(asked), Outline)
    if found is None or found[0].installation != digest_installation():
        return None
    outline = found[0]
    same = present.find_root(asked.spec) == outline.root and all(map(KnownFile.is_same, outline.files))
    return outline if same else None


def find_last(store: Store, spec: str, target: str) -> tuple[Receipt, History] | None:
    """Return the receipt of the last build of a target, whatever it was asked for."""
    found = _read_last(store, spec, target)
    return (found[0], _unpack(found[1])) if found else None


def find_last_receipt(store: Store, spec: str, target: str) -> Receipt | None:
    """Return the same without its history, which takes longer to read than all else of it."""
    found = _read_last(store, spec, target)
    return found[0] if found else None


def find_unchanged(store: Store, asked: Asked, target: str, present: Present) -> Receipt | None:
    """Return the receipt of a target's last build if the same build would do nothing; None where that is in doubt.

    Whether a registry still has a pushed image is not asked here.
    """
    found = _read(store, make_key(asked, target), Receipt)
    if found is None or asked.reproduce or store.fresh:
        return None
    return None if find_change(found[0], present) else found[0]


def find_change(receipt: Receipt, present: Present) -> str | None:
    """Return in words the first thing that is no longer as a receipt says; None if all is.

    The order is that of cost: what is read once for all specs comes first.
    """
    if receipt.installation != digest_installation():
        return "onnxpack, Python or an installed package changed"
    if present.find_root(receipt.asked.spec) != receipt.root:
        return "the Git work tree is another one"
    for file in receipt.files:
        if not file.is_same():
            return f"{show_input(file.path, receipt.root)} changed"
    for folder, known in receipt.folders.items():
        if present.digest(digest_listing, receipt.root, folder) != known:
            return f"the names of files in {clean(folder)} changed"
    for folder, known in receipt.imports.items():
        if present.digest(digest_importable, receipt.root, folder) != known:
            return f"the modules in {clean(folder)} changed"
    return _find_lost_output(receipt, present)


def _find_lost_output(receipt: Receipt, present: Present) -> str | None:
    try:
        if digest_entries(list_entries(Path(receipt.output))) != receipt.outputs:
            return "an output changed"
    except OSError:
        return "the outputs are gone"
    try:
        for name, known in receipt.images.items():
            if present.images.get(name) != known:
                return f"the engine has another image {clean(name)}, or none"
        if receipt.on_gpu is not None and present.has_gpu != receipt.on_gpu:
            return "the engine has a GPU" if present.has_gpu else "the engine has no GPU"
    except OnnxpackError:
        return "the engine does not answer"
    lost = any(file_state(path) != state for path, state in receipt.parts.items())
    return "a part of the image is gone" if lost else None


def show_input(path: str, root: str) -> str:
    """Return the path of an input as people know it: from the root of the work tree."""
    return clean(os.path.relpath(path, root) if path.startswith(f"{root}/") else path)


def renew(store: Store, asked: Asked, receipt: Receipt) -> None:
    """Write down how the files of an unchanged target are now, so that the next look need not read them."""
    if all(map(KnownFile.is_stated, receipt.files)):
        return
    found = _read(store, receipt.key, Receipt)
    files = [file.renew() for file in receipt.files]
    fresh = tuple(file for file in files if file)
    if found and found[0] == receipt and len(fresh) == len(files) and fresh != receipt.files:
        _write(store, replace(receipt, files=fresh), found[1])
    outline = _read(store, make_outline_key(asked), Outline)
    if outline:
        renewed = tuple(file for file in map(KnownFile.renew, outline[0].files) if file)
        if len(renewed) == len(outline[0].files):
            _write(store, replace(outline[0], files=renewed), outline[1])


def write(store: Store, outline: Outline, receipt: Receipt, history: History) -> None:
    """Put a receipt with its history into the store, and the outline of its spec."""
    _write(store, outline, b"")
    _write(store, receipt, zlib.compress(encode(history), 1))
    _write(store, Last(_make_last_key(receipt.asked.spec, receipt.target), receipt.key), b"")


def make_key(asked: Asked, target: str) -> str:
    """Return the key of a target's receipt."""
    return digest_value(("receipt", asked, target))


def make_outline_key(asked: Asked) -> str:
    """Return the key of a spec's outline: of what was asked for only that counts which decides how a spec reads."""
    return digest_value(("outline", asked.spec, asked.settings, asked.trust))


def _read_last(store: Store, spec: str, target: str) -> tuple[Receipt, bytes] | None:
    last = _read(store, _make_last_key(spec, target), Last)
    return _read(store, last[0].receipt, Receipt) if last else None


def _make_last_key(spec: str, target: str) -> str:
    return digest_value(("last", spec, target))


def _write(store: Store, document: Outline | Receipt | Last, packed: bytes) -> None:
    main = encode(document)
    whole = encode((hashlib.sha256(main + packed).digest(), main, packed))
    with contextlib.suppress(OSError):  # without room for it the chain is walked the next time, and that is all
        store.write(store.root / _FOLDER / document.key, whole)


def _read(store: Store, key: str, kind: type[KindT]) -> tuple[KindT, bytes] | None:
    """Return the document of this key that this user has stored, and its history as it is packed."""
    place = store.root / _FOLDER / key
    try:
        if place.lstat().st_uid != os.geteuid():  # it decides whether code and weights are looked at again
            return None
        check, main, packed = decode(read_regular(place, _LIMIT), tuple[bytes, bytes, bytes])
        document = decode(main, kind)
    except (OSError, ValueError, RecursionError):
        return None
    if hashlib.sha256(main + packed).digest() != check or getattr(document, "key", None) != key:
        return None
    note_use(place)
    return document, packed


def _unpack(packed: bytes) -> History:
    try:
        return decode(zlib.decompress(packed), History)
    except (zlib.error, ValueError, RecursionError):
        return History()
