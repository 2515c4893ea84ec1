"""Text for a terminal: sizes, aligned tables, plurals, and foreign text made harmless."""

import html
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_WIDTH = 120


def clean(value: Any, limit: int = 300) -> str:
    """Return a value as one line without control characters, which could steer a terminal or end a comment."""
    # One character more than is kept shows whether something was cut.
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def make_printable(text: str) -> str:
    """Return the text without what a terminal would obey: names, paths and logs may hold anything."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def format_bytes(count: float) -> str:
    """Format a number of bytes as ``12.3 MB``, in powers of 1000 as the spec reads them."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        # From 999.95 on, one decimal would be rounded to 1000.0.
        if count < 999.95 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}"


def format_time(seconds: float) -> str:
    """Return a duration in seconds with three digits, in the unit that fits: ``1.33 s``, ``12.3 ms``, ``456 µs``."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{format_digits(seconds * factor)} {unit}"
    return f"{format_digits(seconds * 1e6)} µs"


def format_digits(value: float) -> str:
    """Return a number below 1,000 with three digits."""
    places = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def with_article(noun: str) -> str:
    """Return a word behind its indefinite article: ``a list``, ``an int``."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def format_table(rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> list[str]:
    """Return the rows as lines with aligned columns; ``right`` has the indexes of those aligned to the right."""
    shown = [[clean(cell) for cell in row] for row in rows]
    flush = set(right)
    widths = [
        max(len(row[index]) for row in shown if index < len(row)) for index in range(max(map(len, shown), default=0))
    ]
    return [
        "  ".join(
            f"{cell:>{width}}" if index in flush else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in shown
    ]


def format_section(title: str, lines: Iterable[str]) -> list[str]:
    """Indent lines below a title, with an empty line in front; return nothing if there are no lines."""
    below = [f"  {line}" for line in lines]
    return ["", title, *below] if below else []


def wrap_comment(text: str, indent: int = 0) -> list[str]:
    """Wrap a text into the lines of a YAML comment."""
    pad = " " * indent + "# "
    return [pad + line for line in textwrap.wrap(clean(text, 2000), _WIDTH - len(pad), break_on_hyphens=False)]


def format_tensor(info: dict[str, Any]) -> str:
    """Format a tensor's dtype and shape as ``float32 [batch, 4]``."""
    return f"{info['dtype']} [{', '.join(map(str, info['shape']))}]"


def quote_markdown(text: str) -> str:
    """Return a text as code of markdown, which also stands in a table: nothing in it means anything."""
    # Behind a backslash of the text's own the escaped bar would end its cell.
    safe = clean(text).replace("\\|", "\\ |").replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", safe)), default=0) + 1)
    pad = " " if "`" in safe else ""
    return f"{ticks}{pad}{safe}{pad}{ticks}" if safe.strip() else html.escape(safe)
