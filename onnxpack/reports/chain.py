"""What a page says of the build itself: its stages, its gates, what it noted, and what it was made with."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onnxpack.core.text import format_bytes, format_time, plural
from onnxpack.reports.blocks import (
    DASH,
    Cell,
    Facts,
    Notes,
    Section,
    Span,
    Step,
    Steps,
    Table,
    make_facts,
    make_section,
    make_table,
)

Report = Mapping[str, Any]
Figure = Callable[[Report], float | None]
_MOST_PIECES = 40
"""How many pieces of work are shown at once; a build that tries all precisions has 33."""
_TIMES = "\N{MULTIPLICATION SIGN}"


def show_chain(report: Report) -> Section | None:
    """Return the stages in order, and how long each piece of their work took."""
    stages = report.get("stages") or []
    return make_section("build", "Build", [
        _list_steps(report), _list_work(stages), _list_reasons(stages), _list_notes(report),
    ])  # fmt: skip


def _list_steps(report: Report) -> Steps | None:
    chain, failed = report.get("chain") or (), str(report.get("stage", "")).split("/")
    steps: list[Step] = []
    reached = True
    for name in chain:
        if name in failed:
            steps.append(Step(name, "failed"))
            reached = False
        else:
            steps.append(Step(name, "done" if reached else "not reached"))
    return Steps(tuple(steps)) if steps else None


def _list_work(stages: list[Report]) -> Table | None:
    """Return a line for each piece of work, with a bar from its start to its end on the time of all of them."""
    total = sum(stage["seconds"] for stage in stages) or 1
    rows, start = [], 0.0
    for stage in stages:
        width = 100 * stage["seconds"] / total
        time = Cell(f"{stage['seconds']:.1f} s", bar=Span(start, width, "cached" if stage["cached"] else ""))
        state = Cell("from the store", "soft") if stage["cached"] else Cell("done")
        rows.append((f"{stage['name']} {stage.get('of') or ''}".strip(), time, state, Cell(stage["key"][:12], "code")))
        start += width
    cached = sum(stage["cached"] for stage in stages)
    words = f"Work, {total:.1f} s; {cached} of {plural(len(stages), 'piece')} from the store"
    return make_table(words, ("Stage", "Time", "", "Key"), rows, right=(1,), fold=len(rows) > _MOST_PIECES)


def _list_reasons(stages: list[Report]) -> Table | None:
    """Return why each piece of work was done, where the report knows it."""
    rows = []
    for stage in stages:
        why = stage.get("why") or ()
        name = f"{stage['name']} {stage.get('of') or ''}".strip()
        rows += [(name, str(reason)) for reason in ([why] if isinstance(why, str) else why)]
    return make_table("Why it ran", ("Stage", "Reason"), rows)


def _list_notes(report: Report) -> Notes | None:
    parity = report.get("parity") or {}
    notes = dict.fromkeys([*(report.get("notes") or ()), *(parity.get("notes") or ())])
    return Notes("Notes", tuple(map(str, notes))) if notes else None


def _look_up(*path: str) -> Figure:
    """Return a function that finds the figure at a path in a report."""

    def find(report: Report) -> float | None:
        found: Any = report
        for part in path:
            found = (found or {}).get(part)
        return found  # type: ignore[no-any-return]

    return find


def _find_speedup(report: Report) -> float | None:
    return next((row["speedup"] for row in report.get("candidates") or () if row["chosen"]), None)


_MEASURED: Mapping[str, tuple[Figure, Callable[[float], str]]] = {
    "max_degradation": (_look_up("evaluation", "degradation"), "{:.4g}".format),
    "min_score": (_look_up("evaluation", "model"), "{:.6g}".format),
    "min_speedup": (_find_speedup, f"{{:.2f}} {_TIMES}".format),
    "image_size": (_look_up("image", "size_bytes"), format_bytes),
    "cold_start": (_look_up("smoke", "ready_seconds"), format_time),
    "first_answer": (_look_up("smoke", "first_answer"), f"{{:.2f}} {_TIMES}".format),
    "latency_p50": (_look_up("smoke", "latency_p50_seconds"), format_time),
    "peak_memory": (_look_up("smoke", "peak_rss_bytes"), format_bytes),
    "rss_growth": (_look_up("smoke", "soak", "growth_bytes"), format_bytes),
}
"""The figure in a report that each gate is judged by, and how it is shown."""


def format_gate(name: str, value: float) -> str:
    """Return the limit of a gate, or what was measured for it, as people read it."""
    return _MEASURED.get(name, (_look_up(name), "{:g}".format))[1](value)


def show_gates(report: Report) -> Section | None:
    """Return each gate that the spec sets, what was measured, and whether it was judged."""
    unjudged = {gate["gate"]: gate["why"] for gate in report.get("not_judged") or ()}
    rows = [
        (Cell(name, "code"), *_judge(report, name, limit, unjudged))
        for name, limit in (report.get("gates") or {}).items()
    ]
    return make_section("gates", "Gates", [make_table("", ("Gate", "Limit", "Measured", ""), rows, right=(1, 2))])


def _judge(report: Report, name: str, limit: float, unjudged: Mapping[str, str]) -> tuple[Cell | str, ...]:
    find, show = _MEASURED.get(name, (_look_up(name), "{:g}".format))
    value = find(report)
    word = "at least" if name.startswith("min_") or name == "gpu_nodes" else "at most"
    shown = (f"{word} {show(limit)}", DASH if value is None else show(value))
    if value is None and report.get("status") != "passed":
        return (*shown, Cell("not reached", "soft"))
    if name in unjudged:
        return (*shown, Cell(f"not judged: {unjudged[name]}", "soft"))
    if value is None:
        return (*shown, Cell("kept", "good"))
    kept = value >= limit if word == "at least" else value <= limit
    return (*shown, Cell("kept", "good") if kept else Cell("broken", "bad"))


def show_provenance(report: Report) -> Section | None:
    """Return what the build was made from and with."""
    tools = report.get("tools") or {}
    again = report.get("reproduction") or {}
    sandbox = report.get("sandbox")
    return make_section("provenance", "Provenance", [
        make_facts([
            ("Spec", Cell(report.get("spec") or "", "code")),
            ("Changed by --set", Cell(", ".join(report.get("set") or ()), "code") if report.get("set") else None),
            ("Built until", report.get("until")),
            ("Sandbox", sandbox if sandbox and sandbox != "none" else None),
            ("Ran on a GPU", _say(report.get("ran_on_gpu"))),
            ("Built twice", f"a second build gave the same {again['compared']}" if again else None),
            *_list_tools(tools),
        ]),
        make_table(
            "Python distributions at work",
            ("Distribution", "Version"),
            [(Cell(name, "code"), version) for name, version in (tools.get("distributions") or {}).items()],
            fold=True,
        ),
    ])  # fmt: skip


def _list_tools(tools: Report) -> Iterator[tuple[str, str | None]]:
    yield "onnxpack", tools.get("onnxpack")
    yield "Python", tools.get("python")
    yield "Machine", tools.get("machine")


def _say(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def show_headline(report: Report) -> Facts | None:
    """Return the few figures that are looked for first."""
    model, parity, image, smoke = (report.get(part) or {} for part in ("model", "parity", "image", "smoke"))
    scored, load = report.get("evaluation") or {}, (report.get("smoke") or {}).get("load") or {}
    p50 = smoke.get("latency_p50_seconds")
    best = max((point["rate"] for point in load.get("points") or () if point.get("rate")), default=None)
    seconds = sum(stage["seconds"] for stage in report.get("stages") or ())
    return make_facts([
        ("Image", format_bytes(image["size_bytes"]) if image else None),
        ("Model", format_bytes(model["size_bytes"]) if model else None),
        ("Precision", model.get("precision")),
        ("Median request", None if p50 is None else format_time(p50)),
        ("Most answers", best and f"{best:,.0f} /s"),
        ("Peak memory", smoke.get("peak_rss_bytes") and format_bytes(smoke["peak_rss_bytes"])),
        (scored.get("metric", "Score").capitalize(), f"{scored['model']:.4g}" if scored else None),
        ("Max difference", f"{parity['max_abs_diff']:.2g}" if parity else None),
        ("Build", f"{seconds:.1f} s" if report.get("stages") else None),
    ])  # fmt: skip
