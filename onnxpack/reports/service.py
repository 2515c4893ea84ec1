"""What a page says of the image: how it is asked, how fast it answers, and what it is made of."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from onnxpack.core.text import format_bytes, format_time, plural
from onnxpack.reports import charts
from onnxpack.reports.blocks import (
    DASH,
    Cell,
    Commands,
    Notes,
    Section,
    Span,
    Table,
    make_facts,
    make_section,
    make_table,
)
from onnxpack.reports.charts import Box, Chart, Key, Point, Tick
from onnxpack.reports.commands import list_commands
from onnxpack.reports.model import show_time

Report = Mapping[str, Any]
_TIMES = "\N{MULTIPLICATION SIGN}"
_PERCENTILES = {"p50_seconds": "p50", "p90_seconds": "p90", "p99_seconds": "p99"}


def show_commands(report: Report) -> Section | None:
    """Return the commands by which what was built is served and asked, in the folder of the report."""
    found = list_commands(report, PurePath()) if report["status"] == "passed" else []
    return make_section("ask", "How to ask it", [Commands(tuple(found)) if found else None])


def show_speed(report: Report) -> Section | None:
    """Return what the container showed in its test: times, memory, and its answers under load."""
    smoke = report.get("smoke") or {}
    load = smoke.get("load") or {}
    return make_section("speed", "Speed and memory", [
        make_facts([*_list_measures(smoke), ("Batches", _describe_batches(report.get("batching") or {}))]),
        _draw_histogram(load.get("histogram") or {}),
        _draw_load(load),
        _list_load(load.get("points") or ()),
        _show_prediction(load),
    ])  # fmt: skip


def _list_measures(smoke: Report) -> Iterator[tuple[str, str | None]]:
    if not smoke:
        return
    soak, first = smoke.get("soak") or {}, smoke.get("first_answer")
    yield "Tested in", smoke["runtime"] + (", emulated" if smoke.get("emulated") else "")
    yield "Ready after", _time(smoke["ready_seconds"])
    yield "Median request", _time(smoke["latency_p50_seconds"])
    yield "First answer", f"{first:.2f} {_TIMES} as long as later ones" if first else None
    yield "Peak memory", _bytes(smoke["peak_rss_bytes"])
    if soak.get("growth_bytes") is not None:
        yield "Memory grew by", f"{_signed(soak['growth_bytes'])} in {plural(soak['requests'], 'request')}"
    yield "Answers compared", str(smoke["comparisons"])


def _describe_batches(batching: Report) -> str | None:
    if not batching:
        return None
    rate = f"{batching['batch_rows_per_second']:,.0f} rows/s in batches of {batching['batch_rows']}"
    return f"{rate}, {batching['gain']:.2f} {_TIMES} as many as in single requests"


def _draw_histogram(histogram: Report) -> Chart | None:
    edges, counts = histogram.get("edges_seconds") or [], histogram.get("counts") or []
    if not counts or len(edges) != len(counts) + 1 or not max(counts):
        return None
    unit, show = charts.choose_time_unit(edges)
    # Each bar is as wide as the times that it stands for; an axis from 0 would leave most of the picture empty.
    x, y = charts.make_span(edges), charts.make_y(counts)
    boxes = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        left, right, top = x.place(low), x.place(high), y.place(count)
        title = f"{format_time(low)} to {format_time(high)}: {plural(count, 'answer')}"
        boxes.append(Box(left, top, round(max(right - left - 0.8, 0.6), 1), round(y.start - top, 1), "bar", title))
    return Chart(
        "Latency of one request at a time",
        f"How many of {sum(counts):,} answers took how long, from {format_time(edges[0])} to {format_time(edges[-1])}.",
        f"Latency ({unit})",
        "Answers",
        x.mark(show),
        y.mark("{:,.0f}".format),
        boxes=tuple(boxes),
    )


def _draw_load(load: Report) -> Chart | None:
    """Return the picture of latency under load, with the rate of answers at each number of clients."""
    rows = [row for row in load.get("points") or () if row.get("rate") and row.get("p50_seconds")]
    if len(rows) < 2:  # one point is no curve
        return None
    times = [row[name] for row in rows for name in _PERCENTILES if row.get(name)]
    unit, show = charts.choose_time_unit(times)
    places, y = charts.spread_evenly(len(rows)), charts.make_y(times, zero=False)
    lines, points = [], []
    for name, tone in _PERCENTILES.items():
        known = [(x, y.place(row[name]), row) for x, row in zip(places, rows, strict=True) if row.get(name)]
        lines.append(charts.draw_line([(x, at) for x, at, _ in known], tone))
        points += [
            Point(x, at, tone, f"{plural(row['clients'], 'client')}: {tone} {format_time(row[name])}")
            for x, at, row in known
        ]
    words = "; ".join(f"{plural(row['clients'], 'client')}, {row['rate']:,.0f} answers/s" for row in rows)
    return Chart(
        "Latency under load",
        f"Latency with more and more clients at once: {words}.",
        "Clients at once, and answers per second",
        f"Latency ({unit})" + (", logarithmic" if y.logarithmic else ""),
        tuple(Tick(x, str(row["clients"]), f"{row['rate']:,.0f}/s") for x, row in zip(places, rows, strict=True)),
        y.mark(show),
        lines=tuple(lines),
        points=tuple(points),
        keys=tuple(Key(tone, tone) for tone in _PERCENTILES.values()),
    )


def _list_load(rows: Iterable[Report]) -> Table | None:
    shown: list[tuple[Cell | str, ...]] = [
        (
            str(row["clients"]), f"{row['rate']:,.0f}", *(show_time(row.get(name)) for name in _PERCENTILES),
            _bytes(row.get("rss_bytes")) or DASH, str(row.get("requests", DASH)),
            Cell(str(row.get("errors", 0)), "bad" if row.get("errors") else ""),
        )
        for row in rows
    ]  # fmt: skip
    heads = ("Clients", "Answers/s", *_PERCENTILES.values(), "Memory", "Requests", "Errors")
    return make_table("Load, step by step", heads, shown, right=range(len(heads)), fold=True)


def _show_prediction(load: Report) -> Notes | None:
    held = load.get("held_out") or {}
    if not held:
        return None
    predicted, measured = held["predicted_p99_seconds"], held["measured_p99_seconds"]
    cores = f" on {plural(load['cores'], 'core')}" if load.get("cores") else ""
    text = f"At {held['rate']:,.0f} answers/s{cores} the p99 was predicted as {format_time(predicted)}, "
    return Notes(
        "Check of the curve", (f"{text}and measured as {format_time(measured)}, at a rate kept apart for it.",)
    )


def show_image(report: Report) -> Section | None:
    """Return the image's names and layers, and what each package is there for."""
    image = report.get("image") or {}
    base = image.get("base") or {}
    labels = (image.get("labels") or {}).items()
    return make_section("image", "Image", [
        make_facts([
            ("Pushed as", _code(image.get("pushed"))),
            ("Names", _code(", ".join(image.get("references") or ()))),
            ("Digest", _code(image.get("digest"))),
            ("Platform", image.get("platform")),
            ("Compression", image.get("compression")),
            ("Base", _code(base.get("reference"))),
            ("Base's digest", _code(base.get("digest"))),
            ("Base's system", f"Python {base['python']}, {base['libc']}" if base else None),
        ]),
        _list_layers(image) if image else None,
        show_packages(report),
        make_table("Labels", ("Label", "Value"), [(Cell(name, "code"), value) for name, value in labels], fold=True),
    ])  # fmt: skip


def _list_layers(image: Report) -> Table | None:
    """Return the layers as one bar: each goes on where the one below it ended."""
    total = sum(layer["size_bytes"] for layer in image["layers"]) or 1
    rows, start = [], 0.0
    for layer in image["layers"]:
        width = 100 * layer["size_bytes"] / total
        size = Cell(format_bytes(layer["size_bytes"]), bar=Span(start, width))
        rows.append(
            (size, f"{width:.0f} %", Cell(layer["created_by"], "code"), Cell(_shorten(layer["digest"]), "code"))
        )
        start += width
    caption = f"Layers, {format_bytes(image['size_bytes'])} uncompressed"
    return make_table(caption, ("Size", "Share", "Made by", "Digest"), rows, right=(0, 1))


def show_packages(report: Report) -> Table | None:
    """Return the locked packages: those in the image, then those left out."""
    packages = sorted(report.get("packages") or (), key=lambda package: not package["kept"])
    rows = [
        (
            Cell(package["name"], "code"), package["version"],
            Cell("in the image", "good") if package["kept"] else Cell("left out", "soft"), package["reason"],
        )
        for package in packages
    ]  # fmt: skip
    return make_table("Python packages", ("Package", "Version", "", "Why"), rows)


def _shorten(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _code(text: str | None) -> Cell | None:
    return Cell(text, "code") if text else None


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def _bytes(count: float | None) -> str | None:
    return None if count is None else format_bytes(count)


def _signed(count: float) -> str:
    return f"-{format_bytes(-count)}" if count < 0 else format_bytes(count)
