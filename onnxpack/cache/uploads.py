"""What is being shared in the background: a few threads, a bounded queue, and an end that is waited for briefly."""

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onnxpack.cache.packing import pack
from onnxpack.core.interrupts import was_interrupted
from onnxpack.core.scratch import working_folder

_THREADS = 2
_MOST = 1000
"""How many objects wait at most; what comes then is not shared."""
_WAIT = 10.0
"""Seconds that the end of a command waits for."""
_LOOK = 0.05


@dataclass(frozen=True)
class _Upload:
    """An object to be: the folder of an entry, or its bytes."""

    place: str
    content: Path | bytes
    over: bool
    """Whether it takes the place of one that is there."""


class Uploads:
    """Objects on their way to a shared store."""

    def __init__(self, root: Path, send: Callable[[Path, str], None], is_needed: Callable[[str], bool]) -> None:
        """Files are packed below ``root``; ``send`` puts one into its place, unless it ``is_needed`` no more."""
        self._root = root
        self._send = send
        self._is_needed = is_needed
        self._queue: queue.Queue[_Upload] = queue.Queue(_MOST)
        self._left = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()
        self._numbers = itertools.count()
        self._lost = 0

    def add(self, place: str, content: Path | bytes, *, over: bool = False) -> None:
        """Share the entry in a folder, or bytes, as the object ``place``."""
        if not self._threads:
            self._start()
        try:
            self._queue.put_nowait(_Upload(place, content, over))
        except queue.Full:
            self._lost += 1

    def finish(self) -> int:
        """Wait until all is shared, some seconds at most; return how many objects are not."""
        end = time.monotonic() + _WAIT
        while self._queue.unfinished_tasks and time.monotonic() < end and not was_interrupted():
            time.sleep(_LOOK)
        lost, self._lost = self._lost + self._queue.unfinished_tasks, 0
        self._left.set()
        self._stack.close()
        self._threads = []
        return lost

    def _start(self) -> None:
        folder = self._stack.enter_context(working_folder(self._root))
        self._left, self._queue = threading.Event(), queue.Queue(_MOST)
        for _ in range(_THREADS):
            thread = threading.Thread(target=self._work, args=(folder, self._queue, self._left), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self, folder: Path, waiting: "queue.Queue[_Upload]", left: threading.Event) -> None:
        while not left.is_set():
            try:
                upload = waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            try:
                self._share(upload, folder / str(next(self._numbers)))
            finally:
                waiting.task_done()

    def _share(self, upload: _Upload, file: Path) -> None:
        # An entry with links is not shared; one that was removed or changed meanwhile cannot be.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            if not upload.over and isinstance(upload.content, Path) and not self._is_needed(upload.place):
                return
            if isinstance(upload.content, Path):
                pack(upload.content, file)
            else:
                file.write_bytes(upload.content)
            self._send(file, upload.place)
            file.unlink()
