"""Handling of Ctrl-C while a container engine works: what it was asked to make must be known, to be removed again."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from onnxpack.core.errors import EngineError


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block has ended; use it around single short requests only."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    waiting: list[int] = []

    def hold(signum: int, frame: FrameType | None) -> None:
        waiting.append(signum)

    handlers = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            raise KeyboardInterrupt


@contextlib.contextmanager
def afterwards(action: Callable[[], None]) -> Iterator[None]:
    """Run ``action`` however the block ends; its own failure never hides the one that ended the block."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(EngineError), uninterrupted():
            action()
        raise
    with uninterrupted():
        action()
