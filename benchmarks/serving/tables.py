"""Write what was measured as Markdown."""

import os
from collections.abc import Callable

from benchmarks.serving.goals import Goal, shorten
from benchmarks.serving.measure import Cell, Course, Figures, Sample
from benchmarks.serving.peers import Peer
from benchmarks.serving.workloads import Workload


def write_page(
    workloads: list[Workload], peers: list[Peer], course: Course, figures: Figures, goals: list[Goal]
) -> str:
    """Return the text for the page."""
    parts = [write_method(course, figures)]
    if goals:
        parts.append(write_goals(goals))
    for workload in workloads:
        for form in course.forms:
            parts.append(write_table(workload, form, peers, course, figures))
    return "\n\n".join(parts) + "\n"


def write_method(course: Course, figures: Figures) -> str:
    """Say how the figures were made."""
    medians = [figures.find_median(cell) for cell in figures.samples]
    most = max((sample.client_cpu / sample.cpu for sample in medians if sample and sample.cpu), default=0)
    return (
        f"{os.cpu_count()} cores, which the client shares; medians of {figures.rounds} rounds of {course.seconds:g} s, "
        f"in random order. The client, a process of its own, takes at most {most:.0%} of the CPU time of the server "
        "that it asks. A server's CPU time and memory are those of all its processes."
    )


def write_goals(goals: list[Goal]) -> str:
    """Return the table of goals."""
    lines = ["| goal | measured | |", "|---|---|---|"]
    for goal in goals:
        if goal.reached is None:
            verdict = "?"
        elif goal.reached >= 1:
            verdict = "met"
        else:
            verdict = f"missed: {goal.reached:.0%} of it"
        lines.append(f"| {goal.title} | {goal.measured} | {verdict} |")
    return "\n".join(lines)


def write_table(workload: Workload, form: str, peers: list[Peer], course: Course, figures: Figures) -> str:
    """Return the table of one model and form, in the order of the peers."""
    size = len(workload.write_body(form)[0])
    size_text = f"{size} B" if size < 1000 else f"{size / 1e3:.0f} kB"
    counts = course.connections
    columns: list[tuple[str, int, Callable[[Sample], str]]] = [
        (f"{count} c.: requests/s" if index == 0 else f"{count} c.", count, lambda sample: f"{sample.rate:,.0f}")
        for index, count in enumerate(counts)
    ]
    columns += [
        (f"{count} c.: p50, ms" if index == 0 else f"{count} c.", count, lambda sample: f"{sample.p50:.2f}")
        for index, count in enumerate(counts)
    ]
    middle = counts[len(counts) // 2]
    columns += [
        (f"{middle} c.: p99, ms", middle, lambda sample: f"{sample.p99:.2f}"),
        ("CPU, ms", middle, lambda sample: f"{sample.cpu:.3f}"),
        ("peak, MB", middle, lambda sample: f"{sample.peak:.0f}"),
    ]
    lines = [
        f"**{workload.title}, {form}**, {size_text} a request",
        "",
        f"| server | {' | '.join(title for title, _, _ in columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for peer in peers:
        samples = [figures.find_median(Cell(workload.title, form, count, peer.title)) for _, count, _ in columns]
        if any(samples):
            cells = [write(sample) if sample else "-" for (_, _, write), sample in zip(columns, samples, strict=True)]
        else:
            trouble = figures.troubles.get((workload.title, form, peer.title), "not measured")
            cells = [shorten(trouble)] + [""] * (len(columns) - 1)
        lines.append(f"| {peer.title} | {' | '.join(cells)} |")
    return "\n".join(lines)
