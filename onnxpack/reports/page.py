"""The page about one build, ``report.html``: one file that loads nothing, made of the values of its report alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpack.bundle import templates
from onnxpack.bundle.page import hash_source
from onnxpack.reports.blocks import Facts, Section
from onnxpack.reports.chain import show_chain, show_gates, show_headline, show_provenance
from onnxpack.reports.model import show_contents, show_intakes, show_parity, show_precision, show_signature
from onnxpack.reports.service import show_commands, show_image, show_speed

_SECTIONS = (
    show_commands, show_signature, show_intakes, show_parity, show_precision, show_speed, show_gates, show_chain,
    show_image, show_contents, show_provenance,
)  # fmt: skip
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_STYLE, _SCRIPT = "report/style.css", "report/copy.js"


@dataclass(frozen=True)
class Trouble:
    """One problem of a build that failed."""

    message: str
    where: str
    hint: str
    detail: str


@dataclass(frozen=True)
class ReportPage:
    """The values that the page shows."""

    name: str
    version: str
    target: str
    description: str
    failed: bool
    stage: str
    exit_code: str
    last_good: str
    troubles: tuple[Trouble, ...]
    headline: Facts | None
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """Return the page's title."""
        return " ".join(filter(None, (self.name, self.version, self.target)))


def render_page(report: Mapping[str, Any]) -> str:
    """Return the page about a build; the same report gives the same text.

    Raises:
        LookupError: it is no report of this version.
        TypeError: the same.
    """
    sections = [show(report) for show in _SECTIONS]
    page = ReportPage(
        name=report.get("name") or "A spec that cannot be read",
        version=report.get("version") or "",
        target=report.get("target") or "",
        description=report.get("description") or "",
        failed=report["status"] != "passed",
        stage=report.get("stage") or "",
        exit_code=str(report.get("exit_code", "")),
        last_good=report.get("last_good") or "",
        troubles=tuple(map(_read_problem, report.get("problems") or ())),
        headline=show_headline(report),
        sections=tuple(section for section in sections if section),
    )
    return render_with_style("report/page.html", page=page, script=templates.read_plain(_SCRIPT))


def _hide_unprintable(page: str) -> str:
    """Replace what no page should hold: control characters, half characters, and those that turn text around."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)


def render_with_style(template: str, script: str = "", **values: object) -> str:
    """Return what a template gives with the style of all pages, and a policy that lets in these and nothing else."""
    style = templates.read_plain(_STYLE)
    policy = [
        "default-src 'none'", f"style-src '{hash_source(style)}'", "base-uri 'none'", "form-action 'none'",
        *([f"script-src '{hash_source(script)}'"] if script else []),
    ]  # fmt: skip
    text = templates.render(template, style=style, script=script, policy="; ".join(policy), **values)
    return _hide_unprintable(text)


def _read_problem(problem: Mapping[str, Any]) -> Trouble:
    where = problem.get("where") or {}
    place = ":".join(str(where[part]) for part in ("file", "line", "column") if where.get(part))
    return Trouble(problem["message"], place, problem.get("hint") or "", problem.get("detail") or "")
