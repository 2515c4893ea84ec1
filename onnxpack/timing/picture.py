"""Draw a benchmark as a picture for a slide: plain SVG of four panels of bars, without scripts, fonts or links."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from onnxpack.core.errors import naming
from onnxpack.core.scratch import replace_file
from onnxpack.core.text import clean, format_bytes, format_time, plural
from onnxpack.timing.bench import Bench, Result, format_count, format_size

_WIDTH = 1120
_MARGIN = 40
_GAP = 48
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) // 2
_LABEL = 152
"""Pixels for the models' names, left of the bars."""
_VALUE = 132
"""Pixels for the figures, right of them."""
_GAIN = 52
"""Of these, for how much faster it is."""
_BAR = _PANEL - _LABEL - _VALUE
_ROW = 34
_HEAD = 116
_PANEL_HEAD = 52
_FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, sans-serif"
_INK, _MUTED, _RULE = "#111827", "#6b7280", "#e5e7eb"
_SOURCE, _FLOAT32 = "#9ca3af", "#64748b"
_OWN = ("#0d9488", "#4f46e5", "#d97706", "#be185d", "#0369a1", "#65a30d")
_WHISKER_ROOM = 2.0
"""A p99 beyond so many times the longest p50 is cut at the panel's edge: one noisy call must not flatten the bars."""
_NAME, _HINT = 22, 66
"""Characters that a model's name and a panel's second words have room for."""


@dataclass(frozen=True)
class _Font:
    size: int
    """In pixels."""
    fill: str = _INK
    anchor: str = "start"
    weight: str = "400"


@dataclass(frozen=True)
class Bar:
    """One model's bar in one panel: ``value`` and ``whisker`` in the panel's unit, None where there is none.

    ``gain`` says how it compares with the first of all models, for all but that one.
    """

    value: float | None
    text: str
    whisker: float | None = None
    gain: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel, with a bar for each model in their order."""

    title: str
    hint: str
    better: str
    """Which bars are the better ones, in words."""
    bars: tuple[Bar, ...]


def write_picture(bench: Bench, path: Path) -> None:
    """Write the SVG, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):  # a read-only disk refuses also to remove what is not there
        try:
            part.write_text(draw_picture(bench), encoding="utf-8")
            replace_file(part, path)
        finally:
            part.unlink(missing_ok=True)


def draw_picture(bench: Bench) -> str:
    """Return the SVG's text: latency, throughput, memory and file size of every model."""
    panels = make_panels(bench)
    height = _HEAD + 2 * _panel_height(len(bench.results))
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": _FONT,
            "role": "img",
        },
    )
    ET.SubElement(root, "title").text = clean(f"Benchmark of {bench.name}")
    ET.SubElement(root, "rect", {"width": str(_WIDTH), "height": str(height), "fill": "#ffffff"})
    _text(root, _MARGIN, 56, bench.name, _Font(28, weight="600"))
    _text(root, _MARGIN, 84, f"{bench.machine.processor}, {plural(bench.machine.threads, 'thread')}", _Font(15, _MUTED))
    colours = choose_colours(bench.results)
    for index, panel in enumerate(panels):
        left = _MARGIN + (index % 2) * (_PANEL + _GAP)
        top = _HEAD + (index // 2) * _panel_height(len(bench.results))
        _panel(root, left, top, panel, bench.results, colours)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def make_panels(bench: Bench) -> tuple[Panel, ...]:
    """Return the panels: latency at the usual sizes, throughput at the largest batch, memory and files."""
    usual = bench.results[0].timings[bench.usual].sizes
    largest = bench.results[0].timings[-1].rows
    unit = "rows" if bench.batch_axis else "runs"
    at = ", ".join(f"{name} {size}" for name, size in usual.items())
    most = f"{bench.batch_axis} {largest}" if bench.batch_axis else ""
    latencies = _bars(bench, _latency)
    against = f"\N{MULTIPLICATION SIGN} against {bench.results[0].label}" if any(bar.gain for bar in latencies) else ""
    return (
        Panel("Latency", _join(at, "bar p50, line p99", against), "less is better", latencies),
        Panel("Throughput", _join(most, f"{unit} in a second"), "more is better", _bars(bench, _throughput)),
        Panel("Peak memory", "of a process that runs it", "less is better", _bars(bench, _memory)),
        Panel("File size", "of the model", "less is better", _bars(bench, _size)),
    )


def _join(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def choose_colours(results: Sequence[Result]) -> list[str]:
    """Return a colour for each model: greys for those that the others are compared with."""
    own = [result for result in results if result.kind not in ("source", "float32")]
    plain = {"source": _SOURCE, "float32": _FLOAT32}
    return [plain.get(result.kind) or _OWN[own.index(result) % len(_OWN)] for result in results]


def _bars(bench: Bench, make: Callable[[Bench, Result], Bar]) -> tuple[Bar, ...]:
    return tuple(make(bench, result) for result in bench.results)


def _latency(bench: Bench, result: Result) -> Bar:
    timing = result.timings[bench.usual]
    gain = timing.speedup.get(bench.results[0].kind)
    text = f"{gain:.1f}\N{MULTIPLICATION SIGN}" if gain else ""
    return Bar(timing.p50_seconds, format_time(timing.p50_seconds), timing.p99_seconds, text)


def _throughput(bench: Bench, result: Result) -> Bar:
    return Bar(result.timings[-1].rows_per_second, format_count(result.timings[-1].rows_per_second))


def _memory(bench: Bench, result: Result) -> Bar:
    return Bar(result.peak_rss_bytes, format_bytes(result.peak_rss_bytes))


def _size(bench: Bench, result: Result) -> Bar:
    return Bar(result.size_bytes, format_size(result.size_bytes))


def _panel_height(count: int) -> int:
    return _PANEL_HEAD + count * _ROW + 28


def _panel(
    root: ET.Element, left: int, top: int, panel: Panel, results: Sequence[Result], colours: Sequence[str]
) -> None:
    _text(root, left, top + 18, panel.title, _Font(17, weight="600"))
    _text(root, left + _PANEL, top + 18, _shorten(panel.hint, _HINT), _Font(13, _MUTED, "end"))
    _line(root, (left, top + 30), (left + _PANEL, top + 30), _RULE)
    longest = max((bar.value or 0 for bar in panel.bars), default=0) or 1
    reach = max((bar.whisker or bar.value or 0 for bar in panel.bars), default=0)
    scale = _BAR / min(max(reach, longest), longest * _WHISKER_ROOM)
    for index, (bar, result, colour) in enumerate(zip(panel.bars, results, colours, strict=True)):
        y = top + _PANEL_HEAD + index * _ROW
        _text(root, left + _LABEL - 12, y + 5, _shorten(result.label, _NAME), _Font(14, anchor="end"))
        if bar.value is not None:
            _row(root, left + _LABEL, y, bar, scale, colour)
        room = _GAIN if any(bar.gain for bar in panel.bars) else 0
        _text(root, left + _PANEL - room, y + 5, bar.text, _Font(14, anchor="end", weight="600"))
        if bar.gain:
            _text(root, left + _PANEL, y + 5, bar.gain, _Font(14, _MUTED, "end"))
    _text(root, left + _LABEL, top + _PANEL_HEAD + len(results) * _ROW - 2, panel.better, _Font(12, _MUTED))


def _row(root: ET.Element, x: int, y: int, bar: Bar, scale: float, colour: str) -> None:
    # A bar that is too short to be seen would look like a missing one.
    length = max((bar.value or 0) * scale, 1.5)
    place = {"x": str(x), "y": str(y - 10), "width": f"{length:.1f}", "height": "20", "rx": "2", "fill": colour}
    ET.SubElement(root, "rect", place)
    if bar.whisker is None:
        return
    end = min(bar.whisker * scale, _BAR)
    _line(root, (x + length, y), (x + end, y), _INK)
    if bar.whisker * scale <= _BAR:
        _line(root, (x + end, y - 5), (x + end, y + 5), _INK)


def _text(root: ET.Element, x: float, y: float, text: str, font: _Font) -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}", "font-size": str(font.size), "fill": font.fill}
    attributes |= {"text-anchor": font.anchor} if font.anchor != "start" else {}
    attributes |= {"font-weight": font.weight} if font.weight != "400" else {}
    ET.SubElement(root, "text", attributes).text = clean(text)


def _line(root: ET.Element, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    places = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    ET.SubElement(root, "line", {**{k: f"{v:.1f}" for k, v in places.items()}, "stroke": colour, "stroke-width": "1.5"})


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
