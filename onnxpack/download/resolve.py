"""The download of source models by URL: once, by a child process, into the store under their digest."""

import math
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.core.digests import digest
from onnxpack.core.errors import SpecError
from onnxpack.core.periodic import repeating
from onnxpack.core.progress import Progress
from onnxpack.core.text import format_bytes as format_size
from onnxpack.download.local import Bounds, read_allowed_roots, require_allowed
from onnxpack.download.task import FetchFile
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import format_source, get_file_name, is_url
from onnxpack.spec.variables import read_size_variable
from onnxpack.worker.call import Setting, call

LIMIT_VARIABLE = "ONNXPACK_MAX_DOWNLOAD"
DEFAULT_LIMIT = 32 * 2**30
"""Bytes of one file: 8.6 thousand million parameters in float32, more than the image of a small server takes. A source
that sends without end stops here."""
_STAGE = "download"
_PERIOD = 2.0  # seconds between two notes on a download's progress

TakeFile = Callable[[str, Path], None]
"""A function that puts the file of a SHA-256 at a path, instead of a download."""


def fetch_sources(file: SpecFile, store: Store, progress: Progress, take: TakeFile | None = None) -> SpecFile:
    """Download the URLs in a spec, and return the spec with their files in the store.

    With ``take`` they come from there, and no network is used.

    Raises:
        SpecError: a file: URL is outside the allowed folders, or a variable for downloads has no valid value.
        EngineError: a file cannot be fetched, is too large, or has another digest than the spec.
    """
    model = file.spec.model
    fields = (("path", model.path), ("weights", model.weights_file))
    urls = {name: url for name, url in fields if url and is_url(url)}
    if not urls:
        return file
    assert model.sha256
    bounds = Bounds(read_allowed_roots(file.root), read_download_limit())
    fetched = {}
    for name, url in urls.items():
        try:
            if url.lower().startswith("file:"):
                require_allowed(url, bounds.roots)  # also where the store has it: a spec is right or wrong everywhere
            wanted = RemoteFile(url, model.sha256, bounds, take)
            fetched[url] = str(get_file(wanted, store, progress))
        except SpecError as error:
            raise error.at(file.where("model", name)) from None
    return replace(file, fetched=fetched)


def read_download_limit() -> int:
    """Return the size limit of a file in bytes: ``ONNXPACK_MAX_DOWNLOAD``, else 32 GiB.

    Raises:
        SpecError: it is not a size.
    """
    return read_size_variable(LIMIT_VARIABLE, DEFAULT_LIMIT, "100GB")


@dataclass(frozen=True)
class RemoteFile:
    """A file to have in the store: its URL and SHA-256, what may be read, and where else it may come from."""

    url: str
    sha256: str
    bounds: Bounds
    take: TakeFile | None = None


def get_file(wanted: RemoteFile, store: Store, progress: Progress) -> Path:
    """Return the path of a file in the store, downloaded if it is not there.

    Raises:
        SpecError: a file: URL is outside the allowed folders.
        EngineError: it cannot be fetched, is too large, or has another digest.
    """
    url = wanted.url
    key = digest(_STAGE, wanted.sha256, get_file_name(url))
    store = store.without_sharing()  # it can be had from where it comes from
    with store.alone(_STAGE, key, lambda: progress.note("another build fetches it: waiting")) as alone:
        # Without locks another process may append to the same file: then each has one of its own.
        partial = store.partial(key if alone else f"{key}-{secrets.token_hex(8)}")
        found = store.get(_STAGE, key)
        if found is None:
            with progress.stage("fetch"):
                if wanted.take:
                    wanted.take(wanted.sha256, partial)
                else:
                    _fetch(wanted, partial, store, progress)
            with store.making(_STAGE, key) as folder:
                partial.rename(folder / get_file_name(url))
            found = store.path(_STAGE, key)
    return found / get_file_name(url)


def _fetch(wanted: RemoteFile, partial: Path, store: Store, progress: Progress) -> None:
    url = wanted.url
    progress.note(f"{format_source(url)}{f', from byte {partial.stat().st_size} on' if partial.exists() else ''}")
    with store.scratch() as scratch:
        total = scratch / "total.json"
        with _watch(partial, total, progress):
            # Without a limit: it ends where the source sends too little.
            outcome = call(
                FetchFile(url, wanted.sha256, partial, total, wanted.bounds), Setting(scratch, within=math.inf)
            )
    progress.note(f"{format_size(outcome.result)}, digest verified")


def _watch(partial: Path, total: Path, progress: Progress) -> AbstractContextManager[None]:
    """Report the progress of a download in another process, as long as the block lasts."""
    before = 0

    def look() -> None:
        nonlocal before
        size = partial.stat().st_size
        whole = total.read_text()
        if size != before:
            of = f" of {format_size(int(whole))}" if whole.isdigit() else ""
            progress.note(f"{format_size(size)}{of}")
        before = size

    return repeating(look, _PERIOD)
