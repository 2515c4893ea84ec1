"""Declared columns as a client of the image sends them: their words, dates, and what stands for missing values."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["days", "seconds"]
"""What the whole number that stands for a date counts, from 1970-01-01 in UTC."""

TIME_PARTS = ("hour", "minute", "second")
"""The parts for which a client sends seconds; days do for all others."""
FIRST_DAY, LAST_DAY = -719162, 2932896
"""0001-01-01 and 9999-12-31 in days since 1970-01-01: the dates that Python and ISO 8601 have."""
DAY_SECONDS = 86400
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class ClientColumn:
    """A client's input that is a declared column, and which values it may have.

    ``words`` are all that are taken; None means: any. ``fill`` stands for a missing value in what is sent; None means:
    a missing value is refused. Dates are whole numbers of ``unit`` since 1970-01-01, in UTC.
    """

    name: str
    kind: Literal["number", "category", "text", "date"]
    words: tuple[str, ...] | None = None
    fill: bool | int | float | str | None = None
    unit: Unit = "days"

    @property
    def is_limited(self) -> bool:
        """Return whether there are values of its dtype that are refused."""
        return self.kind == "date" or (self.kind != "number" and (self.words is not None or self.fill is None))

    @property
    def limits(self) -> tuple[int, int]:
        """Return the first and the last number of a date."""
        return get_date_limits(self.unit)


def get_date_limits(unit: Unit) -> tuple[int, int]:
    """Return the numbers of the first and the last date that there is."""
    if unit == "days":
        return FIRST_DAY, LAST_DAY
    return FIRST_DAY * DAY_SECONDS, (LAST_DAY + 1) * DAY_SECONDS - 1


def choose_unit(parts: tuple[str, ...]) -> Unit:
    """Return the unit in which a client sends dates of which these parts are taken."""
    return "seconds" if set(parts) & set(TIME_PARTS) else "days"


def count_date(text: str, unit: Unit) -> int:
    """Return the number that stands for a date in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    if unit == "days":
        return (moment.replace(tzinfo=None) - _EPOCH).days
    return (moment.replace(tzinfo=None) - _EPOCH - (moment.utcoffset() or timedelta())) // timedelta(seconds=1)


def is_nan(value: object) -> bool:
    """Return whether a value is NaN, or the word for it that a spec has."""
    return value == "NaN" or (isinstance(value, float) and math.isnan(value))
