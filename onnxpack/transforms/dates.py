"""The parts of dates: in numpy by its calendar, and as ONNX nodes by arithmetic on whole numbers.

Dates are days or seconds from 1970-01-01. The nodes count days from 0000-03-01 instead, so that no number is negative
from year 1 on (ONNX's Div rounds to zero), and years begin in March, so that a leap day is the last one. The arithmetic
is that of Howard Hinnant's ``civil_from_days``.
"""

import numpy as np

from onnxpack.spec.columns import DAY_SECONDS, choose_unit
from onnxpack.transforms.operations import Array, Builder

_SHIFT = 719468
"""The days from 0000-03-01 to 1970-01-01."""
_ERA, _CENTURY, _FOUR, _YEAR = 146097, 36524, 1460, 365
"""The days of 400, 100 and 4 years, the last one without its leap day, and of a year."""
_JANUARY = 306
"""The days from March 1 to January 1."""
_AXES_INPUT_OPSET = 13
"""From here on the axes of Unsqueeze are an input."""


def compute_date_parts(dates: Array, parts: tuple[str, ...], dtype: str) -> Array:
    """Return the parts of dates along a new last axis."""
    seconds = dates if choose_unit(parts) == "seconds" else dates * DAY_SECONDS
    moments = seconds.astype("datetime64[s]")
    days = moments.astype("datetime64[D]")
    years, months = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
    number = days.astype(np.int64)
    weekday = (number + 3) % 7  # 1970-01-01 was a Thursday
    thursday = (number - weekday + 3).astype("datetime64[D]")  # is in the year that the week belongs to
    month = months.astype(np.int64) % 12 + 1
    clock = seconds - number * DAY_SECONDS
    found = {
        "year": years.astype(np.int64) + 1970,
        "month": month,
        "day": (days - months).astype(np.int64) + 1,
        "weekday": weekday,
        "yearday": (days - years).astype(np.int64) + 1,
        "quarter": (month + 2) // 3,
        "week": (thursday - thursday.astype("datetime64[Y]")).astype(np.int64) // 7 + 1,
        "days": number,
        "hour": clock // 3600,
        "minute": clock // 60 % 60,
        "second": clock % 60,
    }
    return np.stack([found[part] for part in parts], axis=-1).astype(dtype)


def express_date_parts(nodes: Builder, x: str, parts: tuple[str, ...], dtype: str, axis: int) -> str:
    """Add the nodes that give the parts of dates along a new axis; return the result's name."""
    calendar = _Calendar(nodes, x, in_seconds=choose_unit(parts) == "seconds")
    joined = join(nodes, [unsqueeze(nodes, calendar.get(part), axis) for part in parts], axis)
    return nodes.add_cast(joined, dtype, "int64")


def express_date_part(nodes: Builder, x: str, part: str, dtype: str) -> str:
    """Add the nodes that give one part of dates; return the result's name."""
    calendar = _Calendar(nodes, x, in_seconds=choose_unit((part,)) == "seconds")
    return nodes.add_cast(calendar.get(part), dtype, "int64")


def unsqueeze(nodes: Builder, x: str, axis: int) -> str:
    """Add a new axis to a tensor."""
    if nodes.opset < _AXES_INPUT_OPSET:
        return nodes.add_node("Unsqueeze", [x], axes=[axis])
    return nodes.add_node("Unsqueeze", [x, nodes.add_constant(np.array([axis], np.int64), "axis")])


def join(nodes: Builder, tensors: list[str], axis: int) -> str:
    """Join tensors along an axis."""
    return tensors[0] if len(tensors) == 1 else nodes.add_node("Concat", tensors, axis=axis)


class _Calendar:
    """The parts of dates as tensors, each made once, when it is first asked for."""

    def __init__(self, nodes: Builder, x: str, *, in_seconds: bool) -> None:
        self._nodes = nodes
        self._constants: dict[int, str] = {}
        self._found: dict[str, str] = {}
        if in_seconds:
            shifted = self._add(x, _SHIFT * DAY_SECONDS)
            z = self._divide(shifted, DAY_SECONDS)
            self._found["clock"] = self._subtract(shifted, self._multiply(z, DAY_SECONDS))
        else:
            z = self._add(x, _SHIFT)
        self._found["z"] = z

    def get(self, part: str) -> str:
        """Return the tensor of a part."""
        if part not in self._found:
            self._found[part] = getattr(self, f"_make_{part}")()
        return self._found[part]

    def _make_days(self) -> str:
        return self._add(self.get("z"), -_SHIFT)

    def _make_weekday(self) -> str:
        return self._remainder(self._add(self.get("z"), 2), 7)  # 0000-03-01 was a Wednesday

    def _make_march(self) -> str:
        """Make the year that began in March, and note the day in it, from 0."""
        year, self._found["marchday"] = self._split(self.get("z"))
        return year

    def _make_marchday(self) -> str:
        self.get("march")
        return self._found["marchday"]

    def _split(self, z: str) -> tuple[str, str]:
        """Return the years that begin in March, and the days in them."""
        era = self._divide(z, _ERA)
        day = self._subtract(z, self._multiply(era, _ERA))
        leaps = self._subtract(
            self._add_up(self._subtract(day, self._divide(day, _FOUR)), self._divide(day, _CENTURY)),
            self._divide(day, _ERA - 1),
        )
        year = self._divide(leaps, _YEAR)
        whole = self._subtract(
            self._add_up(self._multiply(year, _YEAR), self._divide(year, 4)), self._divide(year, 100)
        )
        return self._add_up(year, self._multiply(era, 400)), self._subtract(day, whole)

    def _make_place(self) -> str:
        """Make the month's place in the year that began in March: 0 to 11."""
        return self._divide(self._add(self._multiply(self.get("marchday"), 5), 2), 153)

    def _make_turned(self) -> str:
        """Make 1 for January and February, else 0."""
        return self._divide(self.get("place"), 10)

    def _make_day(self) -> str:
        before = self._divide(self._add(self._multiply(self.get("place"), 153), 2), 5)
        return self._add(self._subtract(self.get("marchday"), before), 1)

    def _make_month(self) -> str:
        return self._subtract(self._add(self.get("place"), 3), self._multiply(self.get("turned"), 12))

    def _make_year(self) -> str:
        return self._add_up(self.get("march"), self.get("turned"))

    def _make_quarter(self) -> str:
        return self._divide(self._add(self.get("month"), 2), 3)

    def _make_yearday(self) -> str:
        return self._add(self._subtract(self.get("z"), self._count_to_january(self.get("year"))), 1)

    def _make_week(self) -> str:
        thursday = self._add(self._subtract(self.get("z"), self.get("weekday")), 3)
        # The year of that Thursday is one later than that of its March from January on.
        march, day = self._split(thursday)
        year = self._add_up(march, self._divide(self._add(day, 366 - _JANUARY), 366))
        return self._add(self._divide(self._subtract(thursday, self._count_to_january(year)), 7), 1)

    def _count_to_january(self, year: str) -> str:
        """Return the days from 0000-03-01 to January 1 of a year."""
        before = self._add(year, -1)
        leaps = self._subtract(self._divide(before, 4), self._divide(before, 100))
        days = self._add_up(self._multiply(before, _YEAR), self._add_up(leaps, self._divide(before, 400)))
        return self._add(days, _JANUARY)

    def _make_hour(self) -> str:
        return self._divide(self.get("clock"), 3600)

    def _make_minute(self) -> str:
        return self._remainder(self._divide(self.get("clock"), 60), 60)

    def _make_second(self) -> str:
        return self._remainder(self.get("clock"), 60)

    def _constant(self, value: int) -> str:
        if value not in self._constants:
            self._constants[value] = self._nodes.add_constant(np.array(value, np.int64), f"n{value}")
        return self._constants[value]

    def _add(self, x: str, value: int) -> str:
        return self._nodes.add_node("Add", [x, self._constant(value)])

    def _multiply(self, x: str, value: int) -> str:
        return self._nodes.add_node("Mul", [x, self._constant(value)])

    def _divide(self, x: str, value: int) -> str:
        return self._nodes.add_node("Div", [x, self._constant(value)])

    def _add_up(self, x: str, y: str) -> str:
        return self._nodes.add_node("Add", [x, y])

    def _subtract(self, x: str, y: str) -> str:
        return self._nodes.add_node("Sub", [x, y])

    def _remainder(self, x: str, value: int) -> str:
        return self._subtract(x, self._multiply(self._divide(x, value), value))
