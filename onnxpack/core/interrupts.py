"""Ctrl-C at the wrong moment: what an engine was asked to make must come back, or nobody can take it away again."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from onnxpack.core.errors import EngineError


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block has ended. For single short requests alone."""
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
    """Runs ``action`` however the block ends. Its own failure never hides the one that ended the block."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(EngineError), uninterrupted():
            action()
        raise
    with uninterrupted():
        action()
