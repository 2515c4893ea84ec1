"""Requests to a storage that never hold a build up: each has a thread of its own, and is left alone if that takes long.

Storages have timeouts and retries of their own, each in another way, some of minutes.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from onnxpack.cache.objects import Count, Objects
from onnxpack.cache.patience import Patience
from onnxpack.core.errors import NO_ROOM, OnnxpackError

T = TypeVar("T")

_LOOK = 0.05
"""Seconds between two looks at how far a request is."""
_LARGEST = 32 * 2**30
"""Bytes of one object."""


class _LeftError(Exception):
    """Nobody waits for the answer any more, or it is too large."""


@dataclass
class _Request(Generic[T]):
    """What is asked of a storage, and how far that is."""

    work: Callable[[Count], T]
    moved: int = 0
    """The bytes so far."""
    left: bool = False
    """Whether nobody waits for it any more."""
    done: threading.Event = field(default_factory=threading.Event)
    result: list[T] = field(default_factory=list)
    error: Exception | None = None

    def run(self) -> None:
        """Make the request, and keep what came of it."""
        try:
            self.result.append(self.work(self._count))
        except Exception as error:  # each storage has kinds of its own
            self.error = error
        self.done.set()

    def _count(self, size: int) -> None:
        self.moved += size
        if self.left or self.moved > _LARGEST:
            raise _LeftError


@dataclass(frozen=True)
class Asker:
    """A storage and the patience with it."""

    objects: Objects
    patience: Patience

    @property
    def ended(self) -> bool:
        """Return whether nothing is asked any more."""
        return self.patience.ended

    def ask(self, work: Callable[[Count], T]) -> T | None:
        """Make a request and return its answer; None if there is no such object, or the storage does not do its part.

        Raises:
            OSError: this machine has no room for what it brings.
        """
        if self.ended:
            return None
        request = _Request(work)
        try:
            self.objects.prepare()  # outside of the request: how long an import takes is not the storage's fault
        except (OnnxpackError, OSError) as error:
            self._judge(error, 0.0)
            return None
        started = time.monotonic()
        threading.Thread(target=request.run, daemon=True).start()
        while not request.done.wait(_LOOK):
            if time.monotonic() - started > self.patience.allow(request.moved):
                request.left = True
                self.patience.give_up("it does not answer in time")
                return None
        if request.error:
            self._judge(request.error, time.monotonic() - started)
            return None
        self.patience.charge(time.monotonic() - started, request.moved)
        return request.result[0]

    def _judge(self, error: Exception, seconds: float) -> None:
        """Count a request that failed.

        Raises:
            OSError: this machine has no room for what it brings.
        """
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise error
        if not isinstance(error, FileNotFoundError):
            self.patience.fail(_describe(error), at_once=_is_lasting(error))
        elif "bucket" in str(error).lower():
            self.patience.give_up("its bucket is not there")
        else:
            self.patience.charge(seconds)


def _describe(error: Exception) -> str:
    """Return what a storage says in words of this module: its own may hold logins and signed addresses."""
    kind = type(error).__name__
    if isinstance(error, OnnxpackError):  # a package is missing
        return str(error)
    if isinstance(error, PermissionError) or "Forbidden" in kind:
        return "it refuses access"
    if isinstance(error, NotADirectoryError):
        return "the folder that it is in is not there"
    if "Credential" in kind or "Auth" in kind:
        return "it is given no credentials, or wrong ones"
    if isinstance(error, ConnectionError | TimeoutError) or "Connect" in kind or "Timeout" in kind:
        return "it cannot be reached"
    return f"it fails with {kind}"


def _is_lasting(error: Exception) -> bool:
    """Return whether every other request would fail in the same way."""
    kind = type(error).__name__
    if "Credential" in kind or "Auth" in kind or "Forbidden" in kind or "EndpointConnection" in kind:
        return True
    return isinstance(error, PermissionError | NotADirectoryError | OnnxpackError | ConnectionRefusedError)
