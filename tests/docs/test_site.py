"""The documents become a site: strictly, and one that loads nothing from other hosts."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    return folder


class _Loads(HTMLParser):
    """Collects what a browser loads by itself: scripts, styles, pictures, frames; not what a reader follows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
        self.found += [value for name, value in attrs if name == names.get(tag) and value]


def loads(text: str) -> list[str]:
    """Return what an HTML page loads."""
    parser = _Loads()
    parser.feed(text)
    return parser.found


def is_foreign(address: str) -> bool:
    """Return whether an address is on another host."""
    return re.match(r"(\w+:)?//", address) is not None


def test_site_has_every_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 15
    assert [str(page) for page in sorted(pages) if not (site / page).is_file()] == []


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    found = [(path.name, address) for path in site.rglob("*.html") for address in loads(path.read_text())]
    styles = [
        (path.name, address)
        for path in site.rglob("*.css")
        for address in re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')]+)", path.read_text())
    ]
    assert len(found) > 50
    assert [entry for entry in found + styles if is_foreign(entry[1])] == []


def test_loads_of_a_page_are_told_from_links() -> None:
    page = '<script src="//a.example/x.js"></script><a href="https://b.example">b</a><link href="c.css">'
    assert [(address, is_foreign(address)) for address in loads(page)] == [("//a.example/x.js", True), ("c.css", False)]


def test_navigation_names_every_page_once() -> None:
    def flat(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        entries = entry if isinstance(entry, list) else list(entry.values()) if isinstance(entry, dict) else []
        return [page for inner in entries for page in flat(inner)]

    named = flat(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
