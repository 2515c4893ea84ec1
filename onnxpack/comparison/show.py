"""Shows a comparison: as text for a terminal, as markdown for a pull request, as JSON for programs."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from onnxpack.comparison.differences import KINDS, SIGNATURE, Difference, Kind, Result
from onnxpack.comparison.facts import Facts, Value
from onnxpack.core.text import clean, format_bytes, format_section, format_table, format_time, plural, quote_markdown
from onnxpack.parity.summary import format_measure
from onnxpack.reports.chain import format_gate

_SUFFIXES = ("_seconds", "_bytes")
_LONGEST = 80
"""Characters of a value in a table."""
_FOLDED_OVER = 12
"""How many rows of a section of markdown are shown at once."""
_MOST_ROWS = 60
"""How many rows a section of markdown has at most: a comment has room for 65,536 characters."""


def show_text(result: Result, notes: Iterable[str]) -> list[str]:
    """Return the lines of a comparison for a person at a terminal."""
    lines = [f"{_name(result.old)} -> {_name(result.new)}"]
    changes = [("BREAKING" if change.breaking else "", change.words) for change in result.changes]
    lines += format_section(SIGNATURE, format_table(changes))
    for kind in KINDS:
        rows = [_make_row(one) for one in result.differences if one.section == kind.name]
        title = f"{kind.name} (measured)" if kind.measured else kind.name
        lines += format_section(title, format_table(rows, right=(3,)))
    lines += format_section("not compared", map(clean, [*_list_missing(result), *notes]))
    return [*lines, "", summarize(result)]


def summarize(result: Result) -> str:
    """Return the comparison in one line."""
    if not result.differs:
        return "no difference, measurements aside" if result.differences else "no difference"
    counts = [plural(len(result.breaking), "breaking change")] if result.breaking else []
    others = len(result.changes) - len(result.breaking) + len(result.lasting)
    counts.append(plural(others, "other difference" if counts else "difference"))
    return ", ".join(counts)


def show_markdown(result: Result, notes: Iterable[str]) -> list[str]:
    """Return the lines of a comparison as markdown, in which no name can be a link, a mention or HTML."""
    lines = [f"### {quote_markdown(_name(result.old))} \N{RIGHTWARDS ARROW} {quote_markdown(_name(result.new))}", ""]
    lines.append(f"**{summarize(result)}**")
    if result.changes:
        lines += ["", f"#### {SIGNATURE}", ""]
        lines += [f"- {'**breaking**: ' if one.breaking else ''}{quote_markdown(one.words)}" for one in result.changes]
    for kind in KINDS:
        found = [one for one in result.differences if one.section == kind.name]
        lines += _show_section(kind, found) if found else []
    if missing := [*_list_missing(result), *notes]:
        lines += ["", "Not compared:", "", *(f"- {quote_markdown(text)}" for text in missing)]
    return lines


def _show_section(kind: Kind, found: list[Difference]) -> list[str]:
    """Return a section as a table that can be folded; one that is long, or only measured, is folded."""
    title = f"{kind.name}, {plural(len(found), 'difference')}" + (" (measured)" if kind.measured else "")
    state = "" if kind.measured or len(found) > _FOLDED_OVER else " open"
    rows = [_make_row(one) for one in found[:_MOST_ROWS]]
    more = ["", f"{len(found) - _MOST_ROWS} more are left out here."] if len(found) > _MOST_ROWS else []
    return [
        "",
        f"<details{state}><summary>{title}</summary>",
        "",
        "| | old | new | |",
        "|---|---|---|---:|",
        *(
            f"| {quote_markdown(name)} | {quote_markdown(old)} | {quote_markdown(new)} | {change} |"
            for name, old, new, change in rows
        ),
        *more,
        "",
        "</details>",
    ]


def describe_result(result: Result, notes: Iterable[str]) -> dict[str, Any]:
    """Return a comparison as JSON values; sizes are in bytes, times in seconds."""
    return {
        "old": _describe_side(result.old),
        "new": _describe_side(result.new),
        "differs": result.differs,
        "breaking": bool(result.breaking),
        "signature": [
            {"part": one.part, "name": one.name, "change": one.words, "breaking": one.breaking}
            for one in result.changes
        ],
        "differences": [
            {
                "section": one.section, "name": one.name, "old": one.old, "new": one.new, "relative": one.relative,
                "measured": one.measured,
            }
            for one in result.differences
        ],
        "not_compared": [{"side": place, "section": section} for place, section in result.missing],
        "notes": list(notes),
    }  # fmt: skip


def _describe_side(facts: Facts) -> dict[str, str]:
    return {"kind": facts.kind, "place": facts.place, "title": facts.title}


def _name(facts: Facts) -> str:
    return clean(f"{facts.title} ({facts.place})" if facts.title else facts.place)


def _make_row(one: Difference) -> tuple[str, str, str, str]:
    name = next((one.name.removesuffix(end) for end in _SUFFIXES if one.name.endswith(end)), one.name).replace("_", " ")
    if one.section in ("spec", "labels", "packages", "tools", "gates", "operators", "files", "left out"):
        name = one.name  # somebody's own word
    if one.old is None or one.new is None:
        change = "added" if one.old is None else "removed"
    else:
        # Of an opset, or of an error, the share says nothing.
        counted = one.name.endswith((*_SUFFIXES, " rate")) or one.section == "operators"
        change = f"{one.relative:+.1%}" if counted and one.relative is not None else ""
    return name, _format(one, one.old), _format(one, one.new), change


def _format(one: Difference, value: Value | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if one.section == "gates":
            return format_gate(one.name, value)
        if one.name.endswith("_seconds"):
            return format_time(value)
        if one.name.endswith("_bytes"):
            return format_bytes(value)
        if one.section == "agreement":
            return format_measure(one.name, value)
        return f"{value:.6g}"
    return clean(_shorten(str(value)), _LONGEST)


def _shorten(text: str) -> str:
    """Return a digest without most of its digits: the first ones tell two apart."""
    return re.sub(r"\b((?:sha256:)?[0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def _list_missing(result: Result) -> Iterator[str]:
    for side in (result.old, result.new):
        if parts := [section for place, section in result.missing if place == side.place]:
            yield f"{side.place} ({side.kind}) does not tell: {', '.join(parts)}"
