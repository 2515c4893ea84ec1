"""Charts of figures as shapes to draw: all geometry is worked out here, and the template writes SVG."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 400, 278
"""The size of a chart in its own units; a page shows it at about this size, a phone a little smaller."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 30, 54
_LETTER, _LINE = 6.4, 14.0
"""About how wide a letter of a label is, and how high a line."""
_TICKS = 5
"""About how many marks an axis has."""
_MOST_MARKS = 9
_SPREAD = 20.0
"""The factor over which values are drawn on a logarithmic axis: on a linear one most would lie on the ground."""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: its place in the chart, its text, and a second line of it."""

    at: float
    text: str
    more: str = ""


@dataclass(frozen=True)
class Scale:
    """An axis: from values to places in the chart."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value; one beyond the ends is at the end."""
        low, high, value = (self._bend(number) for number in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.0
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def _bend(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.logarithmic else value

    def mark(self, show: Callable[[float], str]) -> tuple[Tick, ...]:
        """Return the axis' marks at round numbers."""
        return tuple(Tick(self.place(value), show(value)) for value in self._choose_marks())

    def _choose_marks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            factors = (1,) if last - first > _TICKS - 1 else (1, 3) if last - first > 1 else (1, 2, 5)
            found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
            found = found[:: max(1, len(found) // _MOST_MARKS)]
            return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
        step = _round_step((self.high - self.low) / _TICKS)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Box:
    """A filled rectangle, and what it stands for in words."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True)
class Point:
    """A marked point, and what it stands for in words."""

    x: float
    y: float
    tone: str
    title: str


@dataclass(frozen=True)
class Line:
    """A line through points, as the data of an SVG path."""

    path: str
    tone: str


@dataclass(frozen=True)
class Label:
    """A text in the chart; ``anchor`` says which end of it is at the place."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    strong: bool = False


@dataclass(frozen=True)
class Key:
    """An entry of a chart's legend."""

    tone: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart with two axes; ``words`` say in a sentence what it shows, for whoever cannot see it."""

    title: str
    words: str
    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    points: tuple[Point, ...] = ()
    labels: tuple[Label, ...] = ()
    keys: tuple[Key, ...] = ()
    kind = "chart"
    width, height = WIDTH, HEIGHT
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM


def make_x(values: Iterable[float], *, zero: bool = True) -> Scale:
    """Return the axis below the chart, for these values; ``zero`` lets it begin at 0."""
    return _make_scale(list(values), _LEFT, WIDTH - _RIGHT, zero=zero)


def make_span(edges: Sequence[float]) -> Scale:
    """Return the axis below the chart from the first to the last edge; where they grow by a factor, so does it."""
    low, high = edges[0], edges[-1]
    if low >= high:  # all answers took the same time
        low, high = low * 0.9, low * 1.1 or 1.0
    growing = low > 0 and len(edges) > 2 and math.isclose(edges[1] / low, high / edges[-2], rel_tol=1e-3)
    return Scale(low, high, _LEFT, WIDTH - _RIGHT, logarithmic=growing)


def make_y(values: Iterable[float], *, zero: bool = True) -> Scale:
    """Return the axis left of the chart; without ``zero`` it is logarithmic if the values are far apart."""
    return _make_scale(list(values), HEIGHT - _BOTTOM, _TOP, zero=zero)


def _make_scale(values: Sequence[float], start: float, end: float, *, zero: bool) -> Scale:
    low, high = min(values), max(values)
    if not zero and low > 0 and high / low > _SPREAD:
        return Scale(low / 1.15, high * 1.15, start, end, logarithmic=True)
    step = _round_step((high or 1.0) / _TICKS)
    return Scale(0.0, step * math.ceil((high or 1.0) / step - 1e-9), start, end)


def _round_step(rough: float) -> float:
    """Return the round number (1, 2 or 5 times a power of ten) that is next above a distance between marks."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def spread_evenly(count: int) -> list[float]:
    """Return the places of so many values that have an order and no size, along the axis below the chart."""
    room = (WIDTH - _RIGHT - _LEFT) / count
    return [round(_LEFT + room * (index + 0.5), 1) for index in range(count)]


def choose_time_unit(seconds: Iterable[float]) -> tuple[str, Callable[[float], str]]:
    """Return the unit that fits the greatest of some times, and a function that shows seconds in it as a number."""
    most = max(seconds)
    name, factor = next(
        ((name, factor) for name, factor in (("s", 1.0), ("ms", 1e3)) if most * factor >= 1), ("µs", 1e6)
    )
    return name, lambda value: f"{value * factor:.4g}"


def choose_byte_unit(counts: Iterable[float]) -> tuple[str, Callable[[float], str]]:
    """Return the same for numbers of bytes, in powers of 1000."""
    most = max(counts)
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    name, factor = next(((name, factor) for name, factor in units if most >= factor), ("B", 1.0))
    return name, lambda value: f"{value / factor:.4g}"


def draw_line(places: Iterable[tuple[float, float]], tone: str) -> Line:
    """Return a line through places of the chart."""
    return Line("M" + "L".join(f"{x:g} {y:g}" for x, y in places), tone)


def draw_steps(places: Sequence[tuple[float, float]], tone: str) -> Line:
    """Return a line that goes from each place to the next one right and then down."""
    corners = [corner for (x, y), (after, _) in pairwise(places) for corner in ((x, y), (after, y))]
    return draw_line([*corners, places[-1]], tone)


def place_labels(points: Sequence[tuple[float, float, str, bool]]) -> tuple[Label, ...]:
    """Put a label to each point (x, y, text, strong), where it covers no other point and label if that is possible."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, _, _ in points]
    found = []
    for index, (x, y, text, strong) in enumerate(points):
        width = len(text) * _LETTER
        others = taken[:index] + taken[index + 1 :]
        label, area = min(_list_places(x, y, width), key=lambda place: _count_overlaps(place[1], others))
        taken.append(area)
        found.append(Label(label[0], label[1], text, label[2], strong))
    return tuple(found)


_Area = tuple[float, float, float, float]


def _list_places(x: float, y: float, width: float) -> list[tuple[tuple[float, float, str], _Area]]:
    """Return where a label may be around a point, the best first: its place, and the area that it covers."""
    found = []
    for anchor, dx, dy in (
        ("start", 9, 4), ("end", -9, 4), ("start", 5, -9), ("end", -5, -9), ("start", 5, 17), ("end", -5, 17),
        ("start", 9, -22), ("end", -9, -22), ("start", 9, 30), ("end", -9, 30),
    ):  # fmt: skip
        left = x + dx if anchor == "start" else x + dx - width
        area = (left, y + dy - _LINE * 0.8, left + width, y + dy + _LINE * 0.2)
        found.append(((round(x + dx, 1), round(y + dy, 1), anchor), area))
    return found


def _count_overlaps(area: _Area, others: Iterable[_Area]) -> float:
    left, top, right, bottom = area
    outside = left < _LEFT or right > WIDTH or top < 0 or bottom > HEIGHT - _BOTTOM
    return 100 * outside + sum(left < r and l < right and top < b and t < bottom for l, t, r, b in others)  # noqa: E741
