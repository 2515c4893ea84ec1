"""What a check is: an identifier that stays, a level, a section of the protocol, and a function that asks a server."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Generic, Protocol, TypeVar


class Asked(Protocol):
    """A server over HTTP or over gRPC, with a memory of the last exchange, for the reasons of results."""

    sent: str
    got: str


S = TypeVar("S", bound=Asked)


class Level(StrEnum):
    """What a failed check means."""

    REQUIRED = "required"
    """The protocol says it."""
    EXTENSION = "extension"
    """A server need not have it; one that claims it must have it right."""
    ROBUSTNESS = "robustness"
    """The protocol is silent, and a server that strangers reach needs it."""


class Verdict(StrEnum):
    """What came of a check."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_OFFERED = "not offered"


class FailedError(Exception):
    """A server did other than it should; the text says what was expected."""


class NotOfferedError(Exception):
    """A server does not claim what is checked, or its model gives no occasion for it; the text says why."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One check."""

    id: str
    title: str
    level: Level
    section: str
    function: Callable[[S], None]


@dataclass(frozen=True)
class Result:
    """What came of one check, with what was sent and got."""

    id: str
    title: str
    level: Level
    section: str
    verdict: Verdict
    reason: str


def check(name: str, title: str, level: Level, section: str) -> Callable[[Callable[[S], None]], Check[S]]:
    """Make a check of a function, which raises where the server fails and returns where it passes."""

    def make(function: Callable[[S], None]) -> Check[S]:
        return Check(name, title, level, section, function)

    return make


def collect(*modules: ModuleType) -> tuple[Check[S], ...]:
    """Return the checks of modules, single ones and those in a tuple, in the order in which they are written."""
    found: list[Check[S]] = []
    for module in modules:
        for value in vars(module).values():
            found += [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Check)]
    return tuple(found)
