"""Every message that the page of troubles quotes is one that the program can give."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
MESSAGES = [re.sub(r"`, .*|`$", "", line[5:]) for line in re.findall(r"^### `.*$", PAGE.read_text(), re.MULTILINE)]
_FROM_THE_SYSTEM = {"No space left on device …"}
"""Words of the operating system, which the program passes on."""


@cache
def texts() -> frozenset[str]:
    """Return all texts of the program, what is put into them replaced by ``…``."""
    found: set[str] = set()
    for path in (ROOT / "onnxpack").rglob("*.py"):
        found |= set(read_texts(path.read_text()))
    return frozenset(found)


def read_texts(source: str) -> Iterator[str]:
    """Give the texts of one module; a filled place of an f-string, or of one for ``format``, is ``…``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{[^{}]*\}", "…", node.value)


def is_given(message: str, known: frozenset[str]) -> bool:
    """Return whether one text has all fixed words of a message, in their order."""
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("…")), re.DOTALL)
    return any(pattern.search(text) for text in known)


@pytest.mark.parametrize("message", MESSAGES)
def test_message_of_the_page_is_one_of_the_program(message: str) -> None:
    assert message in _FROM_THE_SYSTEM or is_given(message, texts())


LINKED = [
    pytest.param(message, id=f"{page.stem}-{message}")
    for page in sorted((ROOT / "docs/how-to").glob("*.md"))
    for message in re.findall(r"\[`([^`]*)`\]\([^)]*troubleshooting\.md", page.read_text())
]


@pytest.mark.parametrize("message", LINKED)
def test_message_that_another_page_links_is_one_of_the_page(message: str) -> None:
    assert is_given(message, frozenset(MESSAGES)), message


def test_page_has_the_messages_that_are_met_most() -> None:
    assert len(MESSAGES) >= 25
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("axis '…' is not declared", True),
        ("axis '…' is not known", False),
        ("the lock of '…' is old: …", True),
    ],
)
def test_is_given_of_a_message_needs_its_words_in_one_text(message: str, given: bool) -> None:
    source = (
        "a = f\"axis '{name}' is not declared in dynamic_axes\"\nb = \"the lock of '{}' is old: {}\"\nc = 'not known'"
    )
    assert is_given(message, frozenset(read_texts(source))) == given
