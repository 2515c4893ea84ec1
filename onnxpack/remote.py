"""Source models that live elsewhere: fetched once by a child process, and kept in the store under their digest."""

import math
import os
import secrets
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from onnxpack.errors import SpecError
from onnxpack.periodic import repeating
from onnxpack.progress import Progress
from onnxpack.remote_local import Bounds, allowed_roots, require_allowed
from onnxpack.spec.decode import read_size
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import file_name, is_url, shown
from onnxpack.spec.wording import short
from onnxpack.store import Store, digest
from onnxpack.tasks.fetch import FetchFile
from onnxpack.worker.call import Setting, call

LIMIT_VARIABLE = "ONNXPACK_MAX_DOWNLOAD"
DEFAULT_LIMIT = 32 * 2**30
"""Bytes of one file: 8.6 thousand million parameters in float32, more than the image of a small server takes. A source
that sends without end stops here."""
_STAGE = "download"
_PERIOD = 2.0  # seconds between two words on a download's progress
_MB = 1_000_000


def brought_here(file: SpecFile, store: Store, progress: Progress) -> SpecFile:
    """The same spec, whose URLs resolve to files in the store.

    Raises:
        SpecError: a file: URL names what it may not, or a variable that says what may be fetched is not readable.
        EngineError: one cannot be fetched, is too large, or is not the file that the spec trusts.
    """
    model = file.spec.model
    fields = (("path", model.path), ("weights", model.weights_file))
    urls = {name: url for name, url in fields if url and is_url(url)}
    if not urls:
        return file
    assert model.sha256
    bounds = Bounds(allowed_roots(file.root), download_limit())
    fetched = {}
    for name, url in urls.items():
        try:
            if url.lower().startswith("file:"):
                require_allowed(url, bounds.roots)  # also where the store has it: a spec is right or wrong everywhere
            fetched[url] = str(_local(url, model.sha256, bounds, store, progress))
        except SpecError as error:
            raise error.at(file.where("model", name)) from None
    return replace(file, fetched=fetched)


def download_limit() -> int:
    """Return how many bytes one file may have: what ``ONNXPACK_MAX_DOWNLOAD`` says, else 32 GiB.

    Raises:
        SpecError: it is not a size.
    """
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return DEFAULT_LIMIT
    limit = read_size(text)
    if limit is None:
        raise SpecError(f"{LIMIT_VARIABLE} must be a size, not '{short(text)}'", "write a number with a unit, as 100GB")
    return limit


def _local(url: str, sha256: str, bounds: Bounds, store: Store, progress: Progress) -> Path:
    key = digest(_STAGE, sha256, file_name(url))
    with store.alone(_STAGE, key, lambda: progress.note("another build fetches it: waiting")) as alone:
        # Without locks another process may append to the same file: then each has one of its own.
        partial = store.partial(key if alone else f"{key}-{secrets.token_hex(8)}")
        found = store.get(_STAGE, key)
        if found is None:
            with progress.stage("fetch"):
                _fetch(url, sha256, bounds, partial, store, progress)
            with store.making(_STAGE, key) as folder:
                partial.rename(folder / file_name(url))
            found = store.path(_STAGE, key)
    return found / file_name(url)


def _fetch(url: str, sha256: str, bounds: Bounds, partial: Path, store: Store, progress: Progress) -> None:
    progress.note(f"{shown(url)}{f', from byte {partial.stat().st_size} on' if partial.exists() else ''}")
    with store.scratch() as scratch:
        total = scratch / "total.json"
        with _watched(partial, total, progress):
            # Without a limit: it ends where the source sends too little.
            size = call(FetchFile(url, sha256, partial, total, bounds), Setting(scratch, within=math.inf)).result
    progress.note(f"{size / _MB:.1f} MB, digest verified")


def _watched(partial: Path, total: Path, progress: Progress) -> AbstractContextManager[None]:
    """Tell how far the download is, from outside the process that does it."""
    before = 0

    def look() -> None:
        nonlocal before
        size = partial.stat().st_size
        whole = total.read_text()
        if size != before:
            of = f" of {int(whole) / _MB:.1f}" if whole.isdigit() else ""
            progress.note(f"{size / _MB:.1f}{of} MB")
        before = size

    return repeating(look, _PERIOD)
