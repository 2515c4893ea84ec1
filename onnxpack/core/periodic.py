"""A thread that calls a function periodically while other work goes on."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeating(look: Callable[[], None], period: float) -> Iterator[None]:
    """Call ``look`` every ``period`` seconds, in a thread of its own, as long as the block lasts.

    An ``OSError`` ends that one call alone: what is looked at may not be there yet, or not any more.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(period):
            with contextlib.suppress(OSError):
                look()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
