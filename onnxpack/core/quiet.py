"""Measurements of speed run alone on the machine, while the other builds that share it wait.

Builds that run at once share two lock files. Who works holds the second one with the others; who measures holds both
alone. Each takes its turn at the first one to get the second: so nobody who wants to work comes before one who wants
to measure, who would else wait for ever where there is always someone at work.

A process that shares nothing, as a build that runs alone, waits for nobody.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.scratch import locked

_TURN, _WORK = "measure-turn", "measure-work"
"""The names of the lock files."""


@dataclass
class _State:
    """What this process shares, and what it holds of it."""

    folder: Path | None = None
    work: contextlib.ExitStack | None = None
    """The lock of one who works, which is given back as long as the same one measures."""
    measuring: bool = False


_state = _State()


def share(folder: Path | None) -> None:
    """Take turns from now on with all processes that share the lock files in ``folder``; None shares nothing."""
    _state.folder = folder


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Wait until nobody measures, and let nobody begin to as long as the block lasts.

    Raises:
        EngineError: a lock cannot be had.
    """
    if _state.folder is None or _state.work or _state.measuring:
        yield
        return
    with contextlib.ExitStack() as work:
        _take_work(_state.folder, work)
        _state.work = work
        try:
            yield
        finally:
            _state.work = None


@contextlib.contextmanager
def measuring(waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until nobody works or measures, and let nobody begin to as long as the block lasts.

    ``waiting`` is called if somebody has to be waited for. It may be used within ``working``.

    Raises:
        EngineError: a lock cannot be had.
    """
    folder, work = _state.folder, _state.work
    if folder is None or _state.measuring:
        yield
        return
    if work:  # else it would wait for itself
        work.close()
    _state.measuring = True
    try:
        with locked(folder / _TURN, waiting), locked(folder / _WORK, waiting):
            yield
    finally:
        _state.measuring = False
    if work:  # after an error nothing is worked on
        _take_work(folder, work)


def _take_work(folder: Path, work: contextlib.ExitStack) -> None:
    with locked(folder / _TURN):
        work.enter_context(locked(folder / _WORK, shared=True))
