"""What an ``Annotated`` type in the spec's model may say beyond its Python type."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """The whole string must match; ``words`` says the same to a person, and ``hint`` what to write instead."""

    regex: str
    words: str
    hint: str = ""


@dataclass(frozen=True)
class Between:
    """A number's bounds, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Size:
    """A number of bytes, also written with a unit (``150MB``, ``64MiB``); bounds in bytes."""

    low: int
    high: int


@dataclass(frozen=True)
class Duration:
    """Seconds, written with a unit (``2s``, ``5ms``, ``1m``); bounds in seconds."""

    low: float
    high: float


class Later:
    """Values that a later release delivers: known, and refused until then."""

    def __init__(self, *values: str) -> None:
        self.values = values
