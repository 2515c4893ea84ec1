"""Shows forecasts: as words, JSON, a comment for a pull request, and as the jobs of pipelines."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from onnxpack.core.text import clean, format_table, plural, quote_markdown
from onnxpack.pipeline.forecast import CHANGED, FAILED, NEW, NOTHING, TOUCHED, Forecast, StageForecast

MOST_JOBS = 256
"""The jobs that a matrix of GitHub Actions may have; above it, each job gets several targets."""
_MOST_CHARACTERS = 60_000
"""The characters of a comment: GitHub takes 65,536."""
_MOST_REASONS = 5
_WORDS = {
    CHANGED: "would be built again", NEW: "never built here", FAILED: "would fail", TOUCHED: "touched",
    NOTHING: "unchanged",
}  # fmt: skip
_LEVELS = {"runs": "runs", "follows": "follows", "unchanged": "up to date", "fails": "fails"}


def show_text(found: Sequence[Forecast]) -> str:
    """Return lines for a terminal: the targets with work to do, stage by stage, then a count of all."""
    lines: list[str] = []
    for one in found:
        if not one.is_due:
            continue
        lines.append(f"{_title(one)}: {_WORDS[one.status]}")
        lines += [f"  {clean(reason)}" for reason in one.reasons]
        rows = [(stage.stage, _LEVELS[stage.status], _join(stage)) for stage in one.stages]
        lines += [f"  {line}" for line in format_table(rows)]
        for effect in one.effects:
            lines.append(f"  {'breaks clients' if effect.breaking else 'clients see'}: {clean(effect.words)}")
    return "\n".join([*lines, summarize(found)])


def summarize(found: Sequence[Forecast]) -> str:
    """Return one line that counts the targets by what they are."""
    counts = Counter(one.status for one in found)
    names = {CHANGED: "changed", NEW: "new", TOUCHED: "touched", FAILED: "failing", NOTHING: "unchanged"}
    parts = [f"{counts[status]} {word}" for status, word in names.items() if counts[status]]
    return f"{plural(len(found), 'target')}: {', '.join(parts) or 'nothing to do'}"


def show_json(found: Sequence[Forecast]) -> str:
    """Return one JSON document with an entry for each target."""
    counts = Counter(one.status for one in found)
    return json.dumps(
        {"due": any(one.is_due for one in found), "counts": counts, "targets": list(map(asdict, found))}, indent=2
    )


def show_markdown(found: Sequence[Forecast]) -> str:
    """Return a comment for a pull request: a table of the targets with work to do, and their stages folded."""
    due = [one for one in found if one.is_due]
    lines = ["### onnxpack plan", "", f"{summarize(found)}."]
    if due:
        lines += ["", "| target | | why |", "|---|---|---|"]
    size, shown = sum(map(len, lines)), 0
    details: list[str] = []
    for one in due:
        row = f"| {quote_markdown(_title(one))} | {_mark(one)} | {quote_markdown(_why(one))} |"
        detail = _fold(one)
        size += len(row) + sum(map(len, detail)) + len(detail) + 1
        if size > _MOST_CHARACTERS:
            break
        lines.append(row)
        details += detail
        shown += 1
    if shown < len(due):
        details += ["", f"{plural(len(due) - shown, 'target')} more: see the log of the job."]
    return "\n".join([*lines, *details])


def show_matrix(found: Sequence[Forecast]) -> str:
    """Return a matrix of GitHub Actions on one line: a job for each target, or for several if there are too many."""
    due = [one for one in found if one.is_due and one.target]
    jobs = [_make_job([one]) for one in due] if len(due) <= MOST_JOBS else list(map(_make_job, _chunk(due)))
    return json.dumps({"include": jobs}, separators=(",", ":"))


def show_gitlab(found: Sequence[Forecast]) -> str:
    """Return the YAML of a child pipeline of GitLab: a job for each target, or one that does nothing."""
    jobs: dict[str, Any] = {}
    for one in found:
        if one.is_due and one.target:
            command = (
                f"onnxpack build {shlex.quote(one.spec)} --target {shlex.quote(one.target)} $ONNXPACK_BUILD_OPTIONS"
            )
            jobs[_title(one)] = {"extends": ".onnxpack", "script": [command]}
    template = {".onnxpack": {"stage": "build", "artifacts": {"paths": ["dist/"], "when": "always"}}}
    idle = {"nothing to build": {"stage": "build", "script": ["true"]}}
    # JSON is YAML, and its strings mean nothing else in any of its versions.
    return json.dumps({"stages": ["build"], **template, **(jobs or idle)}, indent=2)


def _title(one: Forecast) -> str:
    return clean(f"{one.name}, target {one.target}" if one.target else one.spec)


def _join(stage: StageForecast) -> str:
    more = len(stage.reasons) - _MOST_REASONS
    shown = [clean(reason) for reason in stage.reasons[:_MOST_REASONS]]
    return "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def _why(one: Forecast) -> str:
    """Return the first reasons of a target."""
    first = [reason for stage in one.stages if stage.status in ("runs", "fails") for reason in stage.reasons]
    return "; ".join(dict.fromkeys([*one.reasons, *first][:_MOST_REASONS]))


def _mark(one: Forecast) -> str:
    breaking = any(effect.breaking for effect in one.effects)
    return f"{_WORDS[one.status]}{', **breaks clients**' if breaking else ''}"


def _fold(one: Forecast) -> list[str]:
    """Return the stages and effects of a target, folded."""
    if not one.stages and not one.effects:
        return []
    lines = ["", f"<details><summary>{_escape(_title(one))}</summary>", ""]
    lines += [
        f"- {stage.stage}: {_LEVELS[stage.status]}{f', {quote_markdown(_join(stage))}' if stage.reasons else ''}"
        for stage in one.stages
    ]
    lines += [f"- {'**breaking**: ' if one.breaking else ''}{quote_markdown(one.words)}" for one in one.effects]
    return [*lines, "", "</details>"]


def _escape(text: str) -> str:
    return re.sub(r"[<>&]", lambda found: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}[found[0]], text)


def _make_job(due: list[Forecast]) -> dict[str, str]:
    """Return a job for one target of several specs, whose paths are quoted for a shell or ``xargs``."""
    first = due[0]
    more = f" and {len(due) - 1} more" if len(due) > 1 else ""
    specs = shlex.join(dict.fromkeys(one.spec for one in due))
    return {"spec": specs, "target": first.target, "name": f"{_title(first)}{more}"}


def _chunk(due: list[Forecast]) -> list[list[Forecast]]:
    """Return at most ``MOST_JOBS`` parts, of one target name each, as there are far fewer of these."""
    named: dict[str, list[Forecast]] = {}
    for one in due:
        named.setdefault(one.target, []).append(one)
    size = -(-len(due) // max(MOST_JOBS - len(named), 1))
    return [group[start : start + size] for group in named.values() for start in range(0, len(group), size)]
