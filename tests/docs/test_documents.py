"""The documents are true: generated pages are fresh, commands run, links lead somewhere."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from onnxpack.cli import VERBS, cli
from onnxpack.spec.load import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "specs").glob("*/README.md"))]
HARMLESS = {"validate", "schema"}
"""Verbs that a test may run as the documents write them."""


def commands() -> list[str]:
    """Every indented line of a page that calls onnxpack."""
    found = {}
    for page in PAGES:
        for line in page.read_text().splitlines():
            if line.startswith("    onnxpack "):
                found[line.partition("#")[0].partition(">")[0].strip()] = None
    return list(found)


def test_generated_pages_are_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_replaced_part_of_a_page_ends_at_its_own_mark_also_where_it_was_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    common = importlib.import_module("common")
    page = "<!-- made by a -->\n\n<!-- end -->\nkept\n<!-- made by b -->\n\nold\n<!-- end -->\n"
    found = common.replace_made(page, "a", "new\n")
    assert found == page.replace("made by a -->\n\n", "made by a -->\n\nnew\n\n")
    assert common.replace_made(found, "a", "new\n") == found
    with pytest.raises(ValueError, match="made by c"):
        common.replace_made(page, "c", "new")


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_stands(command: str) -> None:
    _, verb, *arguments = shlex.split(command)
    assert verb in VERBS
    path = [verb, arguments.pop(0)] if isinstance(cli.get_command(click.Context(cli), verb), click.Group) else [verb]
    run = arguments if verb in HARMLESS else ["--help"]
    result = subprocess.run(
        [sys.executable, "-m", "onnxpack", *path, *run], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    shown = subprocess.run(
        [sys.executable, "-m", "onnxpack", *path, "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in shown.stdout for option in options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_spec_in_the_readme_is_valid(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text
    (tmp_path / "spec.yaml").write_text(text[1])
    (tmp_path / "iris.joblib").write_bytes((ROOT / "specs/iris/iris.joblib").read_bytes())
    assert load(tmp_path / "spec.yaml").spec.name == "iris"


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in re.findall(r"^    make (\w+)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert name in targets
