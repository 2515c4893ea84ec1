"""What a page says of the model: what it takes and gives, how near to its source it is, and the precisions tried."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from onnxpack.core.text import format_bytes, format_time, plural
from onnxpack.parity.summary import format_measure
from onnxpack.reports import charts
from onnxpack.reports.blocks import DASH, Block, Cell, Section, Span, Tone, Words, make_facts, make_section, make_table
from onnxpack.reports.charts import Chart, Point

Report = Mapping[str, Any]
_MEASURES = {
    "comparisons": "Compared", "max_abs_diff": "Max abs", "max_rel_diff": "Max rel", "min_cosine": "Cosine",
    "min_sqnr_db": "SQNR", "argmax_agreement": "Argmax", "ties": "Ties", "rtol": "rtol", "atol": "atol",
}  # fmt: skip


def show_signature(report: Report) -> Section | None:
    """Return what clients send and get, what the ONNX file takes and gives, and the sizes of its axes."""
    model, client = report.get("model") or {}, report.get("client") or {}
    axes = (model.get("axes") or {}).items()
    return make_section("signature", "Inputs and outputs", [
        make_table("A client sends", ("Name", "Type", "Shape"), _list_tensors(client.get("inputs") or ())),
        make_table("A client gets", ("Name", "Type", "Shape"), _list_tensors(client.get("outputs") or ())),
        make_table("Inputs", ("Name", "Type", "Shape"), _list_tensors(model.get("inputs") or ())),
        make_table("Outputs", ("Name", "Type", "Shape"), _list_tensors(model.get("outputs") or ())),
        make_table(
            "Sizes that it is verified for and serves",
            ("Axis", "Least", "Usual", "Most"),
            [(Cell(name, "code"), *(f"{axis[key]:,}" for key in ("min", "opt", "max"))) for name, axis in axes],
            right=(1, 2, 3),
        ),
    ])  # fmt: skip


def _list_tensors(tensors: Iterable[Report]) -> Iterator[tuple[Cell | str, ...]]:
    for tensor in tensors:
        shape = f"[{', '.join(map(str, tensor['shape']))}]"
        yield Cell(tensor["name"], "code"), tensor["dtype"], Cell(shape, "code")


def show_parity(report: Report) -> Section | None:
    """Return how the model that ships compares with its source, by output and by size."""
    parity = report.get("parity") or {}
    if not parity:
        return None
    where = plural(parity["comparisons"], "comparison")
    words = f"{where} with the source model's own answers, all within tolerance."
    if not parity["passed"]:
        words = f"{where} with the source model's own answers: {parity.get('differs') or 'values'} differ."
    rows: list[tuple[Cell | str, ...]] = [
        (Cell(row["name"], "code"), *(format_measure(name, row.get(name)) for name in _MEASURES), _judge(row))
        for row in parity["outputs"]
    ]
    return make_section("parity", "Agreement with the source", [
        Words(words, "" if parity["passed"] else "bad"),
        make_table("By output", ("Output", *_MEASURES.values(), ""), rows, right=range(1, len(_MEASURES) + 1)),
        _show_sizes(parity.get("sizes") or ()),
    ])  # fmt: skip


def show_intakes(report: Report) -> Section | None:
    """Return how near the image's pixels and tokens are to those of training."""
    intakes = report.get("intakes") or {}
    pictures: list[tuple[Cell | str, ...]] = [
        (
            Cell(one["name"], "code"),
            ", ".join(f"{library} {version}" for library, version in one["libraries"].items()),
            f"{one['pictures']:,}",
            f"{one['largest']:g} of 255",
            f"{one['differing']:.2%}",
            f"{one['refused']:,}",
        )
        for one in intakes.get("pictures") or ()
    ]
    texts: list[tuple[Cell | str, ...]] = [
        (
            Cell(one["name"], "code"),
            f"tokenizers {one['version']}, {one['kind']}",
            f"{one['texts']:,}",
            f"{one['tokens']:,}",
            Cell("equal", "good"),
        )
        for one in intakes.get("texts") or ()
    ]
    heads = ("Input", "Compared with", "Pictures", "Largest difference", "Values that differ", "Bad files refused")
    return make_section("intakes", "Pictures and texts as in training", [
        make_table("Pixels", heads, pictures, right=(2, 3, 4, 5)),
        make_table("Tokens", ("Input", "Compared with", "Texts", "Tokens", ""), texts, right=(2, 3)),
    ])  # fmt: skip


def _judge(row: Report) -> Cell:
    return Cell("agrees", "good") if row["passed"] else Cell(row.get("differs") or "differs", "bad")


def _show_sizes(rows: Iterable[Report]) -> Block | None:
    rows = list(rows)
    most: dict[str, float] = {}
    for row in rows:
        most[row["output"]] = max(most.get(row["output"], 0.0), row["max_abs_diff"])
    shown: list[tuple[Cell | str, ...]] = []
    for row in rows:
        difference, greatest = row["max_abs_diff"], most[row["output"]]
        # A model that overflows differs by infinity.
        share = 100.0 if not math.isfinite(difference) else 100 * difference / greatest if greatest else 0.0
        sizes = ", ".join(f"{name} {size:,}" for name, size in row["sizes"].items())
        bar = Span(0, share, "" if row["passed"] else "bad")
        absolute = Cell(format_measure("max_abs_diff", difference), bar=bar)
        relative = format_measure("max_rel_diff", row["max_rel_diff"])
        shown.append((Cell(row["output"], "code"), sizes, absolute, relative, str(row["comparisons"]), _judge(row)))
    heads = ("Output", "Size", "Max abs", "Max rel", "Compared", "")
    return make_table("By output and size", heads, shown, right=(2, 3, 4))


def show_precision(report: Report) -> Section | None:
    """Return the precisions that were tried, and the score on the evaluation data."""
    rows = report.get("candidates") or []
    evaluation = report.get("evaluation") or {}
    facts = make_facts([
        ("Metric", evaluation.get("metric")),
        ("Source model", _digits(evaluation.get("source"))),
        ("Model that ships", _digits(evaluation.get("model"))),
        ("Loss", _digits(evaluation.get("degradation"))),
    ])  # fmt: skip
    title = "Precision and score" if rows else "Score on the evaluation data"
    heads = ("Precision", "Size", "p50", "Speed", "SQNR", "Argmax", "Score", "Loss", "Peak memory", "")
    return make_section("precision", title, [
        facts if evaluation else None,
        make_table("Precisions, each measured beside float32", heads, map(_list_candidate, rows), right=range(1, 9)),
        _draw_front(rows),
        make_table("Passed over", ("Precision", "Why"), _list_refused(rows)),
    ])  # fmt: skip


def _list_refused(rows: Iterable[Report]) -> Iterator[tuple[str, str]]:
    return ((row["precision"], row["reason"]) for row in rows if row["reason"])


def _list_candidate(row: Report) -> tuple[Cell | str, ...]:
    name = row["precision"] + (f" - {plural(len(row['excluded']), 'layer')}" if row.get("excluded") else "")
    return (
        Cell(name, "good" if row["chosen"] else ""),
        show_bytes(row["size_bytes"]),
        show_time(row["latency_p50_seconds"]),
        _format("{:.2f}\N{MULTIPLICATION SIGN}", row["speedup"]),
        _format("{:.1f} dB", row["sqnr_db"]),
        _format("{:.1%}", row["argmax_agreement"]),
        _format("{:.4f}", row["score"]),
        _format("{:+.4f}", row["degradation"]),
        show_bytes(row["peak_rss_bytes"]),
        _name_outcome(row),
    )


def _name_outcome(row: Report) -> Cell:
    tone: Tone = "good" if row["chosen"] else "bad" if row["reason"] else "soft"
    return Cell(
        "ships" if row["chosen"] else "passed over" if row["reason"] else "on the front" if row["pareto"] else "", tone
    )


def _draw_front(rows: Iterable[Report]) -> Chart | None:
    """Return the picture of size and latency, with the line of those that none beats in both."""
    known = [row for row in rows if row["latency_p50_seconds"] and row["size_bytes"]]
    if len(known) < 2:  # one point shows nothing
        return None
    times, sizes = ([row[name] for row in known] for name in ("latency_p50_seconds", "size_bytes"))
    (unit, show_x), (size_unit, show_y) = charts.choose_time_unit(times), charts.choose_byte_unit(sizes)
    x, y = charts.make_x(times), charts.make_y(sizes)
    points = [
        Point(x.place(row["latency_p50_seconds"]), y.place(row["size_bytes"]), _tone(row), _describe(row))
        for row in known
    ]
    front = sorted((point.x, point.y) for point, row in zip(points, known, strict=True) if row["pareto"])
    labels = [(point.x, point.y, row["precision"], row["chosen"]) for point, row in zip(points, known, strict=True)]
    return Chart(
        "Size and latency",
        "Each precision by its median latency and its size; left and low is better. "
        + "; ".join(map(_describe, known)) + ".",
        f"Latency p50 ({unit})",
        f"Size ({size_unit})",
        x.mark(show_x),
        y.mark(show_y),
        lines=(charts.draw_steps(front, "front"),) if len(front) > 1 else (),
        points=tuple(points),
        labels=charts.place_labels(labels),
        keys=(charts.Key("chosen", "ships"), charts.Key("front", "no other is both smaller and faster")),
    )  # fmt: skip


def _tone(row: Report) -> str:
    return "chosen" if row["chosen"] else "over" if row["reason"] else "front" if row["pareto"] else "other"


def _describe(row: Report) -> str:
    return f"{row['precision']}: {format_bytes(row['size_bytes'])}, {format_time(row['latency_p50_seconds'])}"


def show_contents(report: Report) -> Section | None:
    """Return what the model is made of."""
    model = report.get("model") or {}
    nodes = sorted((model.get("nodes") or {}).items(), key=lambda item: (-item[1], item[0]))
    weights = sorted((model.get("weights") or {}).items(), key=lambda item: (-item[1], item[0]))
    return make_section("model", "Model", [
        make_facts([
            ("Opset", str(model["opset"])),
            ("Precision", model["precision"]),
            ("Size", format_bytes(model["size_bytes"])),
            ("Exporter", report.get("exporter")),
            ("SHA-256", Cell(model["sha256"], "code")),
        ]) if model else None,
        make_table("Operators", ("Operator", "Nodes"), _list_bars(nodes, "{:,}".format), right=(1,)),
        make_table("Weights", ("Type", "Bytes"), _list_bars(weights, format_bytes), right=(1,)),
    ])  # fmt: skip


def _list_bars(items: list[tuple[str, int]], show: Any) -> list[tuple[Cell, ...]]:
    most = max((count for _, count in items), default=0) or 1
    return [(Cell(name, "code"), Cell(show(count), bar=Span(0, 100 * count / most))) for name, count in items]


def show_bytes(count: float | None) -> str:
    """Return a size for a table, or a dash."""
    return DASH if count is None else format_bytes(count)


def show_time(seconds: float | None) -> str:
    """Return a duration for a table, or a dash."""
    return DASH if seconds is None else format_time(seconds)


def _format(form: str, value: float | None) -> str:
    return DASH if value is None else form.format(value)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
