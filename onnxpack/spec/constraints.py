"""The constraints that an ``Annotated`` type in the spec's model adds to its Python type."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A regular expression for the whole text.

    ``words`` says the same to a person, and ``hint`` what to use instead; ``repair`` turns a near miss into a proposal.
    """

    regex: str
    words: str
    hint: str = ""
    repair: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Between:
    """The bounds of a number, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Size:
    """A number of bytes, plain or with a unit (``150MB``, ``64MiB``); the bounds are in bytes."""

    low: int
    high: int


@dataclass(frozen=True)
class Duration:
    """A duration with a unit (``2s``, ``5ms``, ``1m``); the value and the bounds are in seconds."""

    low: float
    high: float


class Later:
    """Values that are known, but refused until a later release supports them."""

    def __init__(self, *values: str) -> None:
        self.values = values
