"""How long a build waits for a shared store in all: one that is slow or dead costs seconds, and then no more."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from onnxpack.core.regular import read_regular

_BUDGET = 4.0
"""Seconds that all requests together may take beyond what is fair."""
_FAIR = 0.25
"""Seconds that one request may take."""
_RATE = 2_000_000
"""Bytes a second that a transfer may be as slow as: a layer of 50 MB takes 8 s."""
_FAILURES = 3
"""After how many failures in a row nothing is asked any more."""
_REST = 60.0
"""Seconds for which other processes do not ask what one of them has given up."""
_LONGEST = 1_000  # bytes of the file that tells them


class Patience:
    """What is left of the time that may be lost with a storage; once it is used up, nothing is asked any more."""

    def __init__(self, place: Path, tell: Callable[[str], None]) -> None:
        """``place`` is the file by which processes of one store tell each other; ``tell`` tells a person."""
        self._place = place
        self._tell = tell
        self._left = _BUDGET
        self._failures = 0
        self._lock = threading.Lock()
        self._ended = self._is_given_up()

    @property
    def ended(self) -> bool:
        """Return whether nothing is asked any more."""
        return self._ended

    def allow(self, size: int = 0) -> float:
        """Return how many seconds a request may take that has brought ``size`` bytes so far."""
        return self._left + _FAIR + size / _RATE

    def charge(self, seconds: float, size: int = 0) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._failures = 0
            self._left -= max(0.0, seconds - _FAIR - size / _RATE)
        if self._left <= 0:
            self.give_up("it is too slow")

    def fail(self, words: str, *, at_once: bool = False) -> None:
        """Count a request that was refused or failed; ``at_once`` where every other one would be too."""
        with self._lock:
            self._failures += 1
        if at_once or self._failures >= _FAILURES:
            self.give_up(words)

    def give_up(self, words: str) -> None:
        """Ask nothing any more, and tell why, once."""
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            self._tell(f"{words}: the build goes on without it")
            with contextlib.suppress(OSError):
                self._place.parent.mkdir(parents=True, exist_ok=True)
                self._place.write_text(words)

    def _is_given_up(self) -> bool:
        """Return whether another process has given up a moment ago, and tell so."""
        try:
            age = time.time() - self._place.stat().st_mtime
            if not 0 <= age < _REST:
                return False
            words = read_regular(self._place, _LONGEST).decode("utf-8", "replace")
        except OSError:
            return False
        self._tell(f"it is not asked: {age:.0f} s ago {words}")
        return True
