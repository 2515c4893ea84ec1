"""The columns of a declared table as a client of the image sends them: their words, dates and missing values."""

from dataclasses import dataclass
from typing import Literal

FIRST_DAY, LAST_DAY = -719162, 2932896
"""0001-01-01 and 9999-12-31 in days since 1970-01-01: the dates that Python and ISO 8601 have."""
DAY_SECONDS = 86400


@dataclass(frozen=True)
class ClientColumn:
    """A client's input that is a column of a table, and which values it may have.

    ``words`` are all that are taken; None means: any. ``fill`` stands for a missing value in what is sent; None means:
    a missing value is refused. Dates are whole numbers of ``unit`` since 1970-01-01, in UTC.
    """

    name: str
    kind: Literal["number", "category", "text", "date"]
    words: tuple[str, ...] | None = None
    fill: bool | int | float | str | None = None
    unit: Literal["days", "seconds"] = "days"

    @property
    def limits(self) -> tuple[int, int]:
        """Return the first and the last number of a date."""
        if self.unit == "days":
            return FIRST_DAY, LAST_DAY
        return FIRST_DAY * DAY_SECONDS, (LAST_DAY + 1) * DAY_SECONDS - 1
