"""A strict reader of HTML pages: what is not nested, named or closed as it should be is a mistake."""

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise

_VOID = {"meta", "br", "link", "input", "img", "hr"}
_BLOCKS = {
    "p",
    "div",
    "section",
    "table",
    "ul",
    "ol",
    "dl",
    "pre",
    "h1",
    "h2",
    "h3",
    "figure",
    "details",
    "nav",
    "header",
}
_ONLY_TEXT_LEVEL = {"p", "h1", "h2", "h3", "pre", "a", "code", "span", "button", "summary", "dt", "th", "title"}
"""Elements that hold no blocks."""
_PARENTS = {
    "td": {"tr"}, "th": {"tr"}, "tr": {"thead", "tbody"}, "thead": {"table"}, "tbody": {"table"}, "li": {"ul", "ol"},
    "dt": {"div"}, "dd": {"div"}, "summary": {"details"}, "figcaption": {"figure"}, "caption": {"table"},
}  # fmt: skip


class Page(HTMLParser):
    """The elements of a page, its texts, and the mistakes in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.mistakes: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        if self._open:
            self.mistakes.append(f"not closed: {self._open}")
        self.mistakes += _list_mistakes(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.mistakes.append(f"<{tag}> has an attribute twice: {names}")
        if tag in _BLOCKS and (outside := _ONLY_TEXT_LEVEL & set(self._open)):
            self.mistakes.append(f"<{tag}> in {outside}")
        if tag in _PARENTS and self._open[-1] not in _PARENTS[tag]:
            self.mistakes.append(f"<{tag}> in <{self._open[-1]}>")
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()
        if "svg" not in self._open:
            self.mistakes.append(f"<{tag}/> outside SVG")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"</{tag}> closes another element")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    def list_values(self, name: str) -> list[str]:
        """Return the values of an attribute, wherever it stands."""
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]

    def count(self, tag: str) -> int:
        """Return how often an element is there."""
        return sum(name == tag for name, _ in self.elements)


def _list_mistakes(page: Page) -> Iterator[str]:
    ids = page.list_values("id")
    if len(set(ids)) < len(ids):
        yield f"an id twice: {ids}"
    for name in page.list_values("aria-labelledby"):
        if name not in ids:
            yield f"labelled by '{name}', which is not there"
    for link in page.list_values("href"):
        if link.startswith("#") and link[1:] not in ids:
            yield f"a link leads to '{link}', which is not there"
    for tag, attributes in page.elements:
        if tag == "svg" and not (
            attributes.get("aria-hidden") or (attributes.get("role") and attributes.get("aria-label"))
        ):
            yield "a picture without words"
        if tag == "th" and "scope" not in attributes:
            yield "a head of a table without a scope"
        if any(name == "style" or name.startswith("on") for name in attributes):
            yield f"<{tag}> holds style or script: {attributes}"
    heads = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    if heads[:1] != [1] or any(after > before + 1 for before, after in pairwise(heads)):
        yield f"headings jump: {heads}"
    if page.count("main") != 1 or page.elements[0] != ("html", {"lang": "en"}):
        yield "no language, or no main part"


def list_loads(text: str) -> list[str]:
    """Return what of a page could ask anybody for anything."""
    return re.findall(r"https?://|//\w|\bsrc=|url\(|@import|<link|<iframe|<object|<img", text)


def check_policy(page: Page) -> None:
    """Require that the page's policy lets in the style and the scripts that are in it, and nothing else."""
    (policy,) = [
        a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts.pop("default-src") == parts.pop("base-uri") == parts.pop("form-action") == "'none'"
    for kind in ("style", "script"):
        hashes = [
            base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.texts.get(kind, [])
        ]
        assert parts.pop(f"{kind}-src", "") == " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert parts == {}
