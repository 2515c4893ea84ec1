"""The module's tokens are those of training, for strings of every kind, and a difference fails the build (X15.2)."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from text_modules import TextModule, make_texts
from tokenizing import KINDS

from onnxpack.core.errors import GateError, SpecError
from onnxpack.intake.strings import FIXED, draw_strings
from onnxpack.intake.texts import TextFigures, TextReference, compare_texts, load_tokenize

SETTINGS: dict[str, dict[str, Any]] = {
    "as long as needed": {},
    "cut on the right": {"tokens": (4, 16)},
    "cut on the left": {"tokens": (1, 15), "truncation": "left"},
    "a fixed length": {"tokens": 9},
    "refused": {"tokens": (1, 16), "truncation": "refuse"},
    "shorter than the axis": {"tokens": (2, 30), "max_length": 7},
}


def compare(made: TextModule, count: int = 200) -> TextFigures:
    """Compare a module with the library."""
    return compare_texts(made.intake, TextReference(made.intake, made.axes, made.file), made.module.tokenize, count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_tokens_are_those_of_the_library(kind: str, setting: str, tmp_path: Path) -> None:
    found = compare(make_texts(tmp_path, kind, **SETTINGS[setting]))
    assert found.texts == 200
    assert found.tokens > 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["as long as needed", "cut on the left", "a fixed length", "refused"])
def test_tokens_of_pairs_are_those_of_the_library(kind: str, setting: str, tmp_path: Path) -> None:
    assert compare(make_texts(tmp_path, kind, pair="other", **SETTINGS[setting]), 80).texts == 80


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("choose", lambda setting, row: np.arange(len(row.ids))[:16], "'input_ids' has .* at .*, and .* in training"),
        ("share", lambda *_: (1, 0), r"'input_ids' is int64 \[8, .*\], and int64 \[8, 16\] in training"),
        ("LONGEST", 20, "it is refused: input 'text', text .: it has .* bytes in UTF-8, and at most 20 "),
    ],
)
def test_a_module_with_other_tokens_fails_with_the_first_difference(
    name: str, change: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_texts(tmp_path, tokens=(1, 16))
    monkeypatch.setattr(made.module, name, change)
    with pytest.raises(GateError, match=f"tokens of 'text' are not those of training: {message}") as caught:
        compare(made)
    assert "the texts:\n'" in caught.value.problems[0].detail


def test_a_long_text_that_is_not_refused_fails(tmp_path: Path) -> None:
    made = make_texts(tmp_path, tokens=(1, 8), truncation="refuse")
    vars(made.module.SETTINGS["text"])["most"] = 9
    with pytest.raises(GateError, match="it is not refused, and has too many tokens"):
        compare(made)


def test_words_without_any_token_are_refused_by_both(tmp_path: Path) -> None:
    def forget(document: dict[str, Any]) -> None:
        document["model"]["unk_token"] = "[ABSENT]"

    made = make_texts(tmp_path, "word-level", change=forget)
    assert compare(made).tokens > 0
    assert TextReference(made.intake, made.axes, made.file).tokenize(["dog", "incomprehensible"], None) is None


def test_a_file_that_the_library_cannot_read_is_the_specs(tmp_path: Path) -> None:
    made = make_texts(tmp_path)
    made.file.write_text(json.dumps(json.loads(made.file.read_text()) | {"truncation": 5}))
    with pytest.raises(SpecError, match=r"tokenizers cannot read 'tokenizer\.json': "):
        TextReference(made.intake, made.axes, made.file)


def test_strings_are_of_every_kind_and_the_same_each_time() -> None:
    strings = list(draw_strings(1000, 0))
    assert strings == list(draw_strings(1000, 0))
    assert strings[: len(FIXED)] == list(FIXED)
    assert list(islice(draw_strings(1000, 1), len(FIXED), None)) != strings[len(FIXED) :]
    assert len(strings) == 1000
    assert max(map(len, strings)) == 20_000
    planes = {ord(letter) >> 16 for text in strings for letter in text}
    assert {0, 1, 2, 14, 16} <= planes
    for text in strings:
        text.encode()  # no half characters


@pytest.mark.parametrize("kind", ["word-piece", "byte-level", "unigram"])
@pytest.mark.parametrize("pair", [None, "other"])
def test_the_reference_is_what_transformers_does(kind: str, pair: str | None, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = make_texts(tmp_path, kind, tokens=(1, 24), pair=pair)
    reference = TextReference(made.intake, made.axes, made.file)
    word = "[PAD]" if kind == "word-piece" else "<pad>"
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(made.file), pad_token=word)
    strings = [text[:100] for text in draw_strings(120, 5)]
    others = strings[::-1] if pair else None
    names = [info.name for info in made.intake.given]
    found = fast(strings, others, truncation=True, max_length=24, padding=True, return_token_type_ids=True)
    expected = reference.tokenize(strings, others)
    assert expected
    assert {name: found[name] for name in names} == {name: array.tolist() for name, array in expected.items()}


def test_a_module_is_loaded_beside_its_tokenizers_and_leaves_nothing(tmp_path: Path) -> None:
    made = make_texts(tmp_path, "byte-level")
    before = set(sys.modules)
    tokenize = load_tokenize((tmp_path / "texts.py").read_text(), {made.file.name: made.file})
    found = compare_texts(made.intake, TextReference(made.intake, made.axes, made.file), tokenize, 100)
    assert (found.name, found.kind, found.version) == ("text", "BPE", tokenizers.__version__)
    assert set(sys.modules) == before
