"""Ctrl-C and SIGTERM at the wrong moment: what a command holds then is put away all the same.

An interrupt is an exception that may be raised between any two steps: also between the making of a folder and the block
that would remove it, or within what removes it. So whatever must not be left behind is *held*: it is made and put away
while interrupts wait, and is on a list as long as it is there. What unwinding misses is put away from that list.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TypeVar

from onnxpack.core.errors import OnnxpackError

MadeT = TypeVar("MadeT")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _State:
    """What the handler goes by. Signals reach the main thread alone, and only that one changes it."""

    shields: int = 0
    """How many blocks are open that are not to be interrupted."""
    times: int = 0
    """How many signals came since they are heeded."""
    unwinding: bool = False
    """Whether the exception is on its way: what is being put away now is not disturbed by another one."""


_state = _State()
_held: dict[int, Callable[[], None]] = {}
"""How to put away what is held, the oldest first."""
_numbers = itertools.count()


def heed_signals() -> None:
    """Raise ``KeyboardInterrupt`` in the main thread for ctrl-C and SIGTERM, from now on.

    Ctrl-C that was ignored when the command started, as in the background of a script, stays so.
    """
    _state.times, _state.unwinding = 0, False
    for number in _SIGNALS:
        if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """Let no signal disturb the end of a command."""
    _state.unwinding = True
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def was_interrupted() -> bool:
    """Tell whether a signal came since they are heeded."""
    return _state.times > 0


def count_signals() -> int:
    """Return how many signals came since they are heeded: what takes long to end looks for another one."""
    return _state.times


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block has ended; use it around single short requests only."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    _state.shields += 1
    try:
        yield
    finally:
        _state.shields -= 1
        # Also one that came earlier, and was lost in code that lets no exception out.
        if was_interrupted():
            _raise()


@contextlib.contextmanager
def holding(make: Callable[[], MadeT], put_away: Callable[[MadeT], None]) -> Iterator[MadeT]:
    """Yield what ``make`` makes, and put it away however the block ends; both are short, and are not interrupted.

    An error of the engine in putting away never hides the one that ended the block.
    """
    number = next(_numbers)
    try:
        with uninterrupted():
            made = make()
            _held[number] = partial(put_away, made)
        yield made
    except BaseException:
        _state.unwinding = was_interrupted()
        with contextlib.suppress(OnnxpackError), uninterrupted():
            _put_away(number)
        raise
    with uninterrupted():
        _put_away(number)


def afterwards(action: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """Run ``action`` however the block ends; as for ``holding``."""
    return holding(lambda: None, lambda _: action())


def put_away_all() -> None:
    """Put away what is held still, the newest first: the interrupt came just as a block began or ended."""
    while _held:
        _, action = _held.popitem()
        with contextlib.suppress(OnnxpackError, OSError):
            action()


def _put_away(number: int) -> None:
    action = _held.pop(number, None)
    if action:
        action()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _state.times += 1
    _raise()


def _raise() -> None:
    if not _state.shields and not _state.unwinding:
        raise KeyboardInterrupt
