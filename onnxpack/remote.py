"""Source models that live elsewhere: fetched once by a child process, and kept in the store under their digest."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from onnxpack.child import call
from onnxpack.progress import Progress
from onnxpack.spec.load import SpecFile
from onnxpack.spec.origin import file_name, is_url, shown
from onnxpack.store import Store, digest

_STAGE = "download"
_PERIOD = 2.0  # seconds between two words on a download's progress
_MB = 1_000_000


def brought_here(file: SpecFile, store: Store, progress: Progress) -> SpecFile:
    """The same spec, whose URLs resolve to files in the store.

    Raises:
        EngineError: one cannot be fetched, or is not the file that the spec trusts.
    """
    model = file.spec.model
    urls = [url for url in (model.path, model.weights_file) if url and is_url(url)]
    if not urls:
        return file
    assert model.sha256
    return replace(file, fetched={url: str(_local(url, model.sha256, store, progress)) for url in urls})


def _local(url: str, sha256: str, store: Store, progress: Progress) -> Path:
    key = digest(_STAGE, sha256, file_name(url))
    partial = store.root / "partial" / key
    partial.parent.mkdir(parents=True, exist_ok=True)
    with _alone(partial.with_suffix(".lock")):
        found = store.get(_STAGE, key)
        if found is None:
            with progress.stage("fetch"):
                _fetch(url, sha256, partial, store, progress)
            with store.making(_STAGE, key) as folder:
                partial.rename(folder / file_name(url))
            found = store.path(_STAGE, key)
    return found / file_name(url)


def _fetch(url: str, sha256: str, partial: Path, store: Store, progress: Progress) -> None:
    progress.note(f"{shown(url)}{f', from byte {partial.stat().st_size} on' if partial.exists() else ''}")
    with store.scratch() as scratch:
        total = scratch / "total.json"
        request = {"url": url, "sha256": sha256, "partial": str(partial), "total": str(total)}
        with _watched(partial, total, progress):
            size = call("onnxpack.fetch:fetch", request, scratch)
    progress.note(f"{size / _MB:.1f} MB, digest verified")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two builds that need one file fetch it once; the second waits for the first."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _watched(partial: Path, total: Path, progress: Progress) -> Iterator[None]:
    """Tells how far the download is, from outside the process that does it."""
    done = threading.Event()

    def tell() -> None:
        before = 0
        while not done.wait(_PERIOD):
            with suppress(OSError):
                size = partial.stat().st_size
                whole = total.read_text()
                if size != before:
                    of = f" of {int(whole) / _MB:.1f}" if whole.isdigit() else ""
                    progress.note(f"{size / _MB:.1f}{of} MB")
                before = size

    watcher = threading.Thread(target=tell, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
