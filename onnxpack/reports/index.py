"""The page about all builds below a folder, ``index.html``, made of the reports that are there.

Anything may lie there: what is no report is told as one that cannot be read, and no value of one is believed to be of
the kind that a build writes.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onnxpack.core.regular import is_regular, read_regular
from onnxpack.core.scratch import write_whole
from onnxpack.core.text import clean, format_bytes, format_time, plural
from onnxpack.reports import INDEX, PAGE
from onnxpack.reports.blocks import DASH, Cell, Table, make_table
from onnxpack.reports.page import render_with_style

_REPORT = "report.json"
_MARK = b'<meta name="generator" content="onnxpack index">'
"""By this line an index is told from a page that somebody else put in its place."""
_LIMIT = 16 * 2**20  # bytes of one report
_HEAD = 4096  # bytes, in which the mark stands
_MOST = 10_000
"""How many targets are listed: more, no browser shows at once."""
_HEADS = ("Name", "Target", "Version", "Precision", "Image", "Model", "p50", "Peak memory", "Build", "")


@dataclass(frozen=True)
class Entry:
    """One target's last build, as far as its report tells; sizes in bytes, times in seconds."""

    name: str
    target: str
    link: str
    """The address of its page from the index; empty where it has none."""
    status: str
    version: str = ""
    precision: str = ""
    problem: str = ""
    """Where and why it failed."""
    image_bytes: float | None = None
    model_bytes: float | None = None
    p50_seconds: float | None = None
    peak_bytes: float | None = None
    seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Return whether the build passed."""
        return self.status == "passed"


def has_index(output: Path) -> bool:
    """Return whether a folder has an index that a build has left."""
    try:
        return _MARK in read_regular(output / INDEX, _LIMIT)[:_HEAD]
    except OSError:
        return False


def write_index(output: Path) -> bool:
    """Write the index of a folder of outputs, whole or not at all; return False if something else is in its place.

    Raises:
        OSError: it cannot be written.
    """
    place = output / INDEX
    if os.path.lexists(place) and not has_index(output):
        return False
    text = render_index(list(find_entries(output)))
    write_whole(place, text)
    return True


def render_index(entries: Sequence[Entry]) -> str:
    """Return the index as HTML; the same entries give the same text."""
    failed = [entry for entry in entries if not entry.passed]
    words = f"{plural(len(entries), 'target')}: {len(entries) - len(failed)} passed, {len(failed)} failed"
    tables = (
        make_table(
            "Failed", ("Name", "Target", "Why"), [(*_name(one), Cell(one.problem)) for one in failed], fold=False
        ),
        _list_all(entries),
    )
    return render_with_style(
        "report/index.html",
        words=words,
        failed=bool(failed),
        tables=[table for table in tables if table],
        mark=_MARK.decode(),
    )


def find_entries(output: Path) -> Iterator[Entry]:
    """Yield what the reports in ``<output>/<name>/<target>/`` tell, by name and target; links are not followed."""
    for name in _list_folders(output):
        for target in _list_folders(output / name):
            folder = output / name / target
            if os.path.lexists(folder / _REPORT):
                yield _read_entry(folder, name, target)


def _list_folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def _read_entry(folder: Path, name: str, target: str) -> Entry:
    # Without the dot a name with a colon would be taken for a scheme, as `javascript:`.
    link = f"./{quote(os.fsencode(name))}/{quote(os.fsencode(target))}/{PAGE}" if is_regular(folder / PAGE) else ""
    try:
        report = json.loads(read_regular(folder / _REPORT, _LIMIT))
    except (OSError, ValueError, RecursionError):
        report = None
    status = _text(report, "status")
    if status not in ("passed", "failed"):
        return Entry(name, target, link, "unreadable", problem=f"{_REPORT} is not one that a build wrote")
    stages = _find(report, "stages")
    times = [_number(stage, "seconds") or 0.0 for stage in stages] if isinstance(stages, list) else []
    return Entry(
        name,
        target,
        link,
        status,
        _text(report, "version"),
        _text(report, "model", "precision"),
        _describe_failure(report) if status == "failed" else "",
        _number(report, "image", "size_bytes"),
        _number(report, "model", "size_bytes"),
        _number(report, "smoke", "latency_p50_seconds"),
        _number(report, "smoke", "peak_rss_bytes"),
        sum(times) if times else None,
    )


def _describe_failure(report: Any) -> str:
    problems = _find(report, "problems")
    found = [_text(problem, "message") for problem in problems] if isinstance(problems, list) else []
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return ": ".join(filter(None, (_text(report, "stage"), found[0] + more if found else "")))


def _find(report: Any, *path: str) -> Any:
    for part in path:
        report = report.get(part) if isinstance(report, dict) else None
    return report


def _text(report: Any, *path: str) -> str:
    found = _find(report, *path)
    return clean(found) if isinstance(found, str) else ""


def _number(report: Any, *path: str) -> float | None:
    found = _find(report, *path)
    fits = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < math.inf
    return float(min(found, 1e18)) if fits else None


def _list_all(entries: Sequence[Entry]) -> Table | None:
    rows = [
        (
            *_name(entry), entry.version, entry.precision, _show(entry.image_bytes, format_bytes),
            _show(entry.model_bytes, format_bytes), _show(entry.p50_seconds, format_time),
            _show(entry.peak_bytes, format_bytes), _show(entry.seconds, "{:.1f} s".format),
            Cell(entry.status, "good" if entry.passed else "bad"),
        )
        for entry in entries
    ]  # fmt: skip
    return make_table("All", _HEADS, rows, right=range(4, 9), fold=False, most=_MOST)


def _name(entry: Entry) -> tuple[Cell, Cell]:
    return Cell(entry.name, link=entry.link), Cell(entry.target, "code")


def _show(value: float | None, form: Callable[[float], str]) -> str:
    return DASH if value is None else form(value)
