"""Write what was measured as Markdown."""

import os
from collections.abc import Callable

from benchmarks.image.figures import (
    CHANGED,
    CHANGED_PACKING,
    COLD,
    GZIP,
    MEMORY,
    PLAIN,
    PUSH_BYTES,
    PUSH_SECONDS,
    SAME,
    START,
    ZSTD,
    Figures,
)
from benchmarks.image.subjects import SUBJECTS
from benchmarks.serving.goals import Goal
from benchmarks.serving.tables import write_goals


def write_megabytes(value: float) -> str:
    """Return bytes as megabytes."""
    return f"{value / 1e6:.1f}"


def write_kilobytes(value: float) -> str:
    """Return bytes as kilobytes."""
    return f"{value / 1e3:,.0f}"


def write_seconds(value: float) -> str:
    """Return seconds."""
    return f"{value:.2f}"


Columns = tuple[tuple[str, str, Callable[[float], str]], ...]
SIZES: Columns = (
    ("MB", PLAIN, write_megabytes),
    ("gzip, MB", GZIP, write_megabytes),
    ("zstd, MB", ZSTD, write_megabytes),
    ("cold start, s", START, write_seconds),
    ("peak memory, MB", MEMORY, lambda value: f"{value:.0f}"),
)
TIMES: Columns = (
    ("cold build, s", COLD, write_seconds),
    ("model changed, s", CHANGED, write_seconds),
    ("of it packing, s", CHANGED_PACKING, write_seconds),
    ("nothing changed, s", SAME, write_seconds),
    ("push, s", PUSH_SECONDS, write_seconds),
    ("push, kB", PUSH_BYTES, write_kilobytes),
)


def write_page(models: tuple[str, ...], figures: Figures, goals: list[Goal]) -> str:
    """Return the text for the page."""
    changes, starts = figures.count(CHANGED), figures.count(START)
    parts = [
        f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}; one cold build of each image, medians of {changes} "
        f"other builds and pushes and of {starts} starts, in random order; {figures.seconds / 60:.0f} minutes in all.",
        write_goals(goals),
    ]
    for model in models:
        parts.append(f"**{model}: the image**\n\n{write_table(model, SIZES, figures)}")
        parts.append(f"**{model}: builds and pushes**\n\n{write_table(model, TIMES, figures)}")
    return "\n\n".join(parts) + "\n"


def write_table(model: str, columns: Columns, figures: Figures) -> str:
    """Return the table of one model, a line for each image that was tried."""
    lines = [f"| image | {' | '.join(title for title, _, _ in columns)} |", "|---|" + "---|" * len(columns)]
    for subject in SUBJECTS:
        if model not in subject.models:
            continue
        found = [figures.find(subject.title, model, measure) for _, measure, _ in columns]
        cells = ["" if value is None else write(value) for (_, _, write), value in zip(columns, found, strict=True)]
        if not any(cells):
            cells[0] = figures.troubles.get(subject.title, "")
        if any(cells):
            lines.append(f"| {subject.title} | {' | '.join(cells)} |")
    return "\n".join(lines)
