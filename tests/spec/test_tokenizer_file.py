"""What a tokenizer.json says, without the library that wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizing import KINDS, write_tokenizer

from onnxpack.spec.tokenizer_file import read_tokenizer


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """A tokenizer's file as JSON."""
    found: dict[str, Any] = json.loads(write_tokenizer(tmp_path, name="made.json").read_text())
    return found


def read(folder: Path, document: object) -> Any:
    """Write a tokenizer's file, and read it."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document))
    return read_tokenizer(path)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_special_tokens_are_those_of_the_library(kind: str, tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, kind)
    tokenizer, found = Tokenizer.from_file(str(path)), read_tokenizer(path)
    assert found.kind == type(tokenizer.model).__name__
    assert found.size == tokenizer.get_vocab_size()
    assert found.special == (tokenizer.num_special_tokens_to_add(False), tokenizer.num_special_tokens_to_add(True))
    assert found.pad == tokenizer.token_to_id("<pad>" if kind in ("byte-level", "unigram") else "[PAD]")
    assert found.side == ("left" if kind == "word-level" else "right")
    assert found.cuts
    assert not found.random


def test_tokens_added_behind_the_vocabulary_count(document: dict[str, Any], tmp_path: Path) -> None:
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 5000, "content": "<new>"})
    assert read(tmp_path, document).size == 5001


@pytest.mark.parametrize(
    ("change", "cuts"),
    [
        ({"pre_tokenizer": None}, False),
        (
            {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}},
            False,
        ),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "split": False}}, False),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits"}]}},
            True,
        ),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}}, True),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a b"}, "content": "c"}}, False),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Unknown"}]}}, False),
        ({"added_tokens": [{"id": 0, "content": "New York"}]}, False),
        ({"added_tokens": [{"id": 0, "content": " x"}]}, True),
    ],
)
def test_a_text_is_cut_only_where_nothing_looks_over_the_cut(
    change: dict[str, Any], cuts: bool, document: dict[str, Any], tmp_path: Path
) -> None:
    assert read(tmp_path, document | change).cuts is cuts


def test_old_files_name_no_kind(document: dict[str, Any], tmp_path: Path) -> None:
    del document["model"]["type"]
    assert read(tmp_path, document).kind == "WordPiece"
    assert read(tmp_path, {"model": {"vocab": [["a", 0.0]], "unk_id": 0}}).kind == "Unigram"
    assert read(tmp_path, {"model": {"vocab": {"a": 0}, "merges": []}}).kind == "BPE"
    assert read(tmp_path, {"model": {"vocab": {"a": 0}}}).kind == "WordLevel"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Expected `object`, got `array`"),
        ({}, "missing required field `model`"),
        (
            {"model": {"type": "Neural", "vocab": {"a": 0}}},
            "type 'Neural', known are BPE, Unigram, WordLevel, WordPiece",
        ),
        ({"model": {"type": "BPE", "vocab": {}}}, "its vocabulary is empty"),
        ({"model": {"type": "BPE", "vocab": {"a": -1}}}, "negative ids"),
        ({"model": {"vocab": {"a": 0}}, "post_processor": {"type": "TemplateProcessing"}}, "post_processor is not"),
    ],
)
def test_other_files_are_refused_with_the_cause(given: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, given)


def test_a_file_that_changed_is_read_again(document: dict[str, Any], tmp_path: Path) -> None:
    first = read(tmp_path, document).size
    document["model"]["vocab"]["entirely_new"] = first
    assert read(tmp_path, document).size == first + 1
