"""The tutorial is run as a reader would: its files are written, its commands run, and what they print is compared.

The first line of a block says what it is: ``python title="train.py"`` is a file, ``diff title="spec.yaml"`` an edit of
one, ``sh`` are commands, and ``text title="prints"`` is what the commands before it print. A reader alone runs ``sh``
with a title.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial.md"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_ANYTHING = "…"
"""A line of the page that stands for any lines of the output."""


class Block(NamedTuple):
    """A fenced block of the page."""

    language: str
    title: str
    text: str


def blocks() -> Iterator[Block]:
    """Give the blocks in their order, up to the first that needs a container engine."""
    for found in _BLOCK.finditer(PAGE.read_text()):
        block = Block(found[1], found[2] or "", found[3])
        if "engine" in block.title:
            return
        yield block


def edit(text: str, diff: str) -> str:
    """Return the text with the lines that the diff removes replaced by those that it adds."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, f"the page edits what is not there once:\n{old}"
    return text.replace(old, new)


def shape(line: str) -> str:
    """Return a line without what differs from machine to machine: digests, numbers, and the width of columns."""
    line = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", line.strip())
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", line))


def missing(page: str, output: str) -> list[str]:
    """Return the lines of the page that the output does not have in their order."""
    printed = iter([shape(line) for line in output.splitlines()])
    return [line for line in page.splitlines() if line not in ("", _ANYTHING) and shape(line) not in printed]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment with the two commands of the page, and an empty store."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in {"python": "", "onnxpack": " -m onnxpack"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (programs / name).chmod(0o755)
    own = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ONNXPACK_CACHE": str(tmp_path / "store"),
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | own


def test_tutorial_files_and_commands_give_what_the_page_says(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    ran, status, output = 0, 0, ""
    for language, title, text in blocks():
        if language == "python":
            (folder / title).write_text(text)
        elif language == "diff":
            (folder / title).write_text(edit((folder / title).read_text(), text))
        elif language == "yaml":
            assert missing(text, (folder / title.partition(",")[0]).read_text()) == []
        elif language == "text":
            wanted = int(title.rpartition("exit status ")[2]) if "exit status" in title else 0
            assert status == wanted, output
            assert missing(text, output) == [], output
        elif not title:
            done = subprocess.run(
                ["/bin/sh", "-e", "-c", text], cwd=folder, env=environment,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            ran, status, output = ran + 1, done.returncode, done.stdout
    assert ran >= 8


@pytest.mark.parametrize(
    ("page", "output", "lost"),
    [
        ("one\ntwo\n", "one\nmore\ntwo\n", []),
        ("took 1.5 s\n", "took  12 s\n", []),
        ("two\none\n", "one\ntwo\n", ["one"]),
        ("three\n", "one\n", ["three"]),
        ("…\n", "", []),
    ],
)
def test_missing_of_page_and_output_tells_the_lines_that_are_lost(page: str, output: str, lost: list[str]) -> None:
    assert missing(page, output) == lost


def test_edit_of_lines_that_are_not_there_fails() -> None:
    assert edit("a: 1\nb: 2\n", "-a: 1\n+a: 3\n b: 2\n") == "a: 3\nb: 2\n"
    with pytest.raises(AssertionError, match="not there once"):
        edit("a: 1\n", "-a: 2\n+a: 3\n")


def test_request_of_the_page_is_one_that_its_model_takes() -> None:
    text = PAGE.read_text()
    request = re.search(r"--data '(\{.*?\})'", text, re.DOTALL)
    answer = re.search(r'^\{"model_name".*$', text, re.MULTILINE)
    assert request
    assert answer
    (tensor,) = json.loads(request[1])["inputs"]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("x", [1, 13], "FP32")
    assert len(tensor["data"]) == 13
    given = {output["name"]: output["shape"] for output in json.loads(answer[0])["outputs"]}
    assert given == {"label": [1], "probabilities": [1, 3]}
