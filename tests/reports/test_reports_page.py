"""The page about a build is valid, asks nobody, says what the report says, and keeps foreign text text."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, browsing
from pages import Page, check_policy, list_loads

from onnxpack.reports.page import render_page

GOLDEN = Path(__file__).parents[1] / "golden/report"
FULL: dict[str, Any] = json.loads((GOLDEN / "full.json").read_text())
FAILED: dict[str, Any] = json.loads((GOLDEN / "failed.json").read_text())
HOSTILE = "</style></pre><script>document.title='bad'</script>\"'&{{ 7 * 7 }}<img src=x onerror=alert(1)>"


def lose_reports(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the report without each of its parts in turn: a build that ended early, or an older one."""
    for name, value in report.items():
        if name not in ("status", "name"):
            yield {key: item for key, item in report.items() if key != name}
            yield report | {name: [] if isinstance(value, list) else None}


def poison(value: Any, text: str) -> Any:
    """Return a report with another text in the place of every text."""
    if isinstance(value, dict):
        return {name: poison(item, text) for name, item in value.items()}
    if isinstance(value, list):
        return [poison(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("name", ["full", "failed"])
def test_a_page_is_as_it_was(name: str, expected: Callable[[Path, str], None]) -> None:
    report = json.loads((GOLDEN / f"{name}.json").read_text())
    page = render_page(report)
    assert page == render_page(copy.deepcopy(report))
    expected(GOLDEN / f"{name}.html", page)


@pytest.mark.parametrize("report", [FULL, FAILED, *lose_reports(FULL), *lose_reports(FAILED)])
def test_a_page_is_valid_small_and_asks_nobody(report: dict[str, Any]) -> None:
    text = render_page(report)
    page = Page(text)
    assert page.mistakes == []
    assert list_loads(text) == []
    assert len(text.encode()) < 150_000
    check_policy(page)


def test_a_page_says_what_was_found_out() -> None:
    text = render_page(FULL)
    page = Page(text)
    assert page.texts["h2"] == [
        "How to ask it", "Inputs and outputs", "Agreement with the source", "Precision and score", "Speed and memory",
        "Gates", "Build", "Image", "Model", "Provenance",
    ]  # fmt: skip
    for words in (
        "93.7 MB", "642 µs", "0.982222", "docker load -i image.tar", "[batch, 1, 8, 8]", "int8-dynamic",
        "the generated module imports it", "weights.safetensors changed", "DynamicQuantizeMatMul", "at most 150.0 MB",
        "predicted as 1.70 ms", "glibc 2.36", "1 client: p99 1.62 ms", "1,550/s",
    ):  # fmt: skip
        assert words in text, words
    assert page.count("figure") == 3


def test_what_was_not_made_is_not_shown() -> None:
    page = Page(
        render_page({**FULL, "candidates": [], "evaluation": None, "smoke": None, "batching": None, "gates": {}})
    )
    assert not {"Precision and score", "Speed and memory", "Gates"} & set(page.texts["h2"])
    assert "figure" not in page.texts


def test_a_failed_build_says_where_and_why_and_not_how_to_run_it() -> None:
    text = render_page(FAILED)
    page = Page(text)
    assert page.texts["h2"][0] == "What went wrong"
    assert "How to ask it" not in page.texts["h2"]
    assert FAILED["problems"][0]["message"] in text
    assert "spec.yaml:3:4" in page.texts["code"]
    assert "→ " in page.texts["span"]
    states = dict(zip(FAILED["chain"], [text for text in page.texts["small"] if "." not in text], strict=True))
    assert states == {
        "base": "done", "export": "done", "verify": "done", "bundle": "done", "image": "failed", "smoke": "failed",
    }  # fmt: skip


def test_stages_that_were_not_reached_say_so() -> None:
    page = Page(render_page(FAILED | {"stage": "verify"}))
    assert page.texts["small"].count("not reached") == 3


def test_a_report_of_a_spec_that_cannot_be_read_has_a_page() -> None:
    problem = {"message": "no", "hint": "", "where": None, "detail": ""}
    report = {"name": None, "target": None, "status": "failed", "spec": "a.yaml", "stage": "spec", "exit_code": 2}
    text = render_page(report | {"problems": [problem]})
    assert Page(text).mistakes == []
    assert "A spec that cannot be read" in text


@pytest.mark.parametrize("report", [FULL, FAILED])
def test_foreign_text_stays_text(report: dict[str, Any]) -> None:
    def find_shape(text: str) -> list[tuple[str, dict[str, str | None]]]:
        worded = {"class", "aria-label", "content", "x", "y", "text-anchor"}  # where a label has room depends on it
        report_of = poison(report, text) | {"status": report["status"]}
        page = Page(render_page(report_of))
        assert page.mistakes == []
        return [(tag, {n: v for n, v in items.items() if n not in worded}) for tag, items in page.elements]

    assert find_shape(HOSTILE) == find_shape("x")
    assert "script>document" not in render_page(poison(report, HOSTILE) | {"status": report["status"]})


def test_names_of_labels_and_gates_stay_text() -> None:
    report = copy.deepcopy(FULL)
    report["image"]["labels"], report["model"]["nodes"] = {HOSTILE: "1"}, {HOSTILE: 1}
    report["gates"] = {HOSTILE: 1.0}
    report["model"]["axes"] = {HOSTILE: {"min": 1, "opt": 1, "max": 1}}
    page = Page(render_page(report))
    assert page.mistakes == []
    assert page.texts["code"].count(HOSTILE) >= 4


def test_what_steers_a_terminal_or_turns_text_around_is_hidden() -> None:
    report = FULL | {"description": "a\x1b[31mb\0c\u202egnp.exe\ud800 d\te"}
    assert "a\ufffd[31mb\ufffdc\ufffdgnp.exe\ufffd d\te" in render_page(report)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0.0, 1e300])
def test_odd_figures_are_drawn_all_the_same(value: float) -> None:
    report = copy.deepcopy(FULL)
    for row in (*report["parity"]["sizes"], *report["parity"]["outputs"]):
        row["max_abs_diff"] = value
    load = report["smoke"]["load"]
    load["histogram"] = {"edges_seconds": [0.001, 0.001], "counts": [5]}
    load["points"] = [point | {"errors": 3} for point in load["points"][:1]] * 2
    text = render_page(report)
    assert Page(text).mistakes == []
    assert not set(re.findall(r'="[^"]*"', text)) & {'="nan"', '="inf"'}


def test_a_report_of_many_outputs_stays_small() -> None:
    report = copy.deepcopy(FULL)
    sizes = report["parity"]["sizes"]
    report["parity"]["sizes"] = sizes * 2000
    text = render_page(report)
    assert len(text) < 400_000
    assert f"{len(sizes) * 2000 - 400:,} more are in report.json" in text


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
@pytest.mark.parametrize("report", [FULL, FAILED])
def test_a_browser_shows_it_without_complaint_or_scrolling_sideways(
    report: dict[str, Any], width: int, dark: bool, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_page(report), encoding="utf-8")
    browser.complaints.clear()
    browser.open(path.as_uri(), width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(20, 23, 26)") == dark
    if report is FULL:
        assert browser.evaluate("document.querySelectorAll('button.copy:not([hidden])').length") == 4
        browser.evaluate("document.querySelector('button.copy').click()")
        browser.wait("document.querySelector('button.copy').textContent === 'Copied'")
    assert browser.complaints == []


@needs_browser
def test_a_browser_runs_nothing_of_a_hostile_report(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_page(poison(FULL, HOSTILE) | {"status": "passed"}), encoding="utf-8")
    browser.complaints.clear()
    browser.open(path.as_uri())
    assert browser.evaluate("document.title") != "bad"
    assert browser.complaints == []


def test_a_page_shows_what_clients_send_and_how_near_to_training_it_is_read() -> None:
    picture = {"name": "photo", "libraries": {"pillow": "13.0.0", "opencv": "5.0.0"}, "pictures": 51, "refused": 13}
    picture |= {"largest": 0.25, "differing": 0.001, "worst": "grey PNG"}
    text = {"name": "review", "kind": "WordPiece", "version": "0.23.1", "texts": 1000, "tokens": 24336}
    intakes = {"pictures": [picture], "texts": [text]}
    client = {"inputs": [{"name": "photo", "dtype": "bytes", "shape": ["batch"]}], "outputs": FULL["model"]["outputs"]}
    html = render_page(FULL | {"intakes": intakes, "client": client})
    page = Page(html)
    assert page.mistakes == []
    assert "Pictures and texts as in training" in page.texts["h2"]
    for words in ("photo", "bytes", "pillow 13.0.0, opencv 5.0.0", "0.25 of 255", "0.10%", "24,336", "equal"):
        assert words in html
    assert "A client sends" in html
    assert "A client sends" not in render_page(FULL)
