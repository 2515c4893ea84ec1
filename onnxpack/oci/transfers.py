"""Several transfers at once: how far they are, and that one which fails ends them all."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from onnxpack.core.periodic import repeating
from onnxpack.core.progress import Progress
from onnxpack.core.text import format_bytes
from onnxpack.oci.registry import Stopped

AT_ONCE = 3
"""How many blobs move at once: more gain nothing, and registries count them."""
_PERIOD = 2.0  # seconds between two notes
_PATIENCE = 5.0  # seconds in which the others end after one has failed


class Meter:
    """Bytes that have moved, counted by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.moved = 0

    def add(self, count: int) -> None:
        """Count bytes; a transfer that starts again takes its own back."""
        with self._lock:
            self.moved += count


@contextmanager
def showing(progress: Progress, meter: Meter, total: int, verb: str) -> Iterator[None]:
    """Note every two seconds how much of ``total`` bytes has moved, if that has changed."""
    before = 0

    def look() -> None:
        nonlocal before
        if meter.moved != before:
            before = meter.moved
            progress.note(f"{verb} {format_bytes(before)} of {format_bytes(total)}")

    with repeating(look, _PERIOD):
        yield


def run_together(tasks: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Run tasks, a few at once, and raise the first error of one; ``stop`` is set then, and when the user stops them.

    The threads end with the process: one that a silent host holds keeps nobody waiting.
    """
    waiting = list(reversed(tasks))
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            with lock:
                if not waiting:
                    return
                task = waiting.pop()
            try:
                task()
            except Stopped:
                return
            except BaseException as error:  # raised again below, in the thread that waits
                errors.append(error)
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(tasks)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.1)
    finally:
        if any(thread.is_alive() for thread in threads):
            stop.set()
            for thread in threads:
                thread.join(_PATIENCE / len(threads))
    if errors:
        raise errors[0]
