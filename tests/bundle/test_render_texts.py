"""The generated module makes tokens of texts, within limits, and says what is wrong with a text (X15.2)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_modules import TextModule, make_texts
from tokenizers import Tokenizer
from tokenizing import KINDS


@pytest.fixture
def texts(tmp_path: Path) -> Callable[..., TextModule]:
    """Make the module of a tokenizer."""
    return lambda *given, **more: make_texts(tmp_path, *given, **more)


def test_rows_are_as_long_as_the_longest_and_no_shorter_than_the_axis(texts: Callable[..., TextModule]) -> None:
    module = texts(tokens=(4, 8))
    assert [len(row) for row in module.list_ids("a", "fox")] == [4, 4]
    assert [len(row) for row in module.list_ids("a", "the dog and the fox")] == [7, 7]
    found = module.tokenize(["a", "the dog and the fox"])
    assert found.arrays["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0], [1] * 7]
    assert module.tokenize([]).arrays["input_ids"].shape == (0, 4)


def test_a_fixed_axis_is_filled_in_the_models_dtype(texts: Callable[..., TextModule]) -> None:
    found = texts(tokens=9, dtype="int32").tokenize(["a", ""]).arrays
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (np.dtype("int32"), (2, 9))
    )


def test_padding_is_on_the_tokenizers_side(texts: Callable[..., TextModule]) -> None:
    assert texts("word-level").tokenize(["dog", "the dog"]).arrays["attention_mask"].tolist() == [[0, 1], [1, 1]]


def test_what_is_too_long_is_cut_off_or_refused(texts: Callable[..., TextModule], tmp_path: Path) -> None:
    whole = texts().list_ids("the quick brown fox")[0]
    assert texts(tokens=(1, 4)).list_ids("the quick brown fox") == [[*whole[:3], whole[-1]]]
    assert texts(tokens=(1, 4), truncation="left").list_ids("the quick brown fox") == [[whole[0], *whole[-3:]]]
    with pytest.raises(ValueError, match="input 'text', text 1: it has more than 4 tokens"):
        texts(tokens=(1, 4), truncation="refuse").tokenize(["the fox", "the quick brown fox"])


def test_of_a_pair_the_longer_text_gives_way(texts: Callable[..., TextModule]) -> None:
    module = texts(tokens=(1, 8), pair="other")
    found = module.tokenize(["fox " * 9, "fox", "fox " * 9], ["dog", "dog " * 9, "dog " * 8])
    assert found.arrays["token_type_ids"].tolist() == [
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1, 1],
    ]


def test_long_pairs_take_no_more_than_their_tokens(texts: Callable[..., TextModule]) -> None:
    # The library itself keeps each part of one text with each of the other: here millions of them.
    found = texts(tokens=(1, 8), pair="other").tokenize(["fox " * 10_000], ["dog " * 10_000])
    assert found.arrays["input_ids"].shape == (1, 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["the quick fox " * 9_000, "the quick fox\n" * 900, "a" * 9_000, "dog  " * 900])
def test_the_beginning_of_a_long_text_gives_the_same_tokens(
    kind: str, text: str, texts: Callable[..., TextModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = texts(kind, tokens=(1, 32))
    read: list[int] = []
    run = module.module.run

    def count(tokenizer: Any, given: tuple[str, ...]) -> Any:
        read.append(sum(map(len, given)))
        return run(tokenizer, given)

    monkeypatch.setattr(module.module, "run", count)
    found = module.list_ids(text)
    if " fox the" in text:
        assert sum(read) < 1000
    monkeypatch.setattr(module.module, "shorten", lambda setting, given: given)
    assert found == module.list_ids(text)
    assert read[-1] == len(text)


def test_places_are_characters_of_the_string_that_came(texts: Callable[..., TextModule]) -> None:
    text = "Größe \U0001f44d\U0001f3fd e\u0301 dog"
    for kind in ("word-piece", "byte-level"):
        (places,) = texts(kind, places=True).tokenize([text]).offsets
        assert places[0] == places[-1] == (0, 0, -1, -1)
        parts = [text[place.start : place.end] for place in places if place.part == 0]
        assert parts[-1].strip() in ("dog", "og", "g")
        assert "".join(dict.fromkeys(parts)).replace(" ", "").startswith("Gr")
    pairs = texts(pair="other", tokens=10, places=True).tokenize(["fox dog"], ["the dog"]).offsets[0]
    assert pairs == [
        (0, 0, -1, -1), (0, 3, 0, 0), (4, 7, 0, 1), (0, 0, -1, -1), (0, 3, 1, 0), (4, 7, 1, 1), *[(0, 0, -1, -1)] * 4,
    ]  # fmt: skip


def test_half_characters_are_refused_with_their_place(texts: Callable[..., TextModule]) -> None:
    module = texts()
    with pytest.raises(ValueError, match="input 'text', text 1: it holds half of a surrogate pair"):
        module.tokenize(["whole \U0001f600", "half \ud83d"])


def test_the_bytes_of_a_text_and_of_a_request_are_bounded(texts: Callable[..., TextModule]) -> None:
    module = texts("word-level")
    with pytest.raises(ValueError, match="text 1: it has 300000 bytes in UTF-8, and at most 131072 can be tokenized"):
        module.tokenize(["a", "\u4f60" * 100_000])
    with pytest.raises(ValueError, match="text 8: the request's texts have more than 1048576 bytes in"):
        module.tokenize(["a" * 125_000] * 17)
    many = module.tokenize(["the dog " * 60_000] * 20).arrays["input_ids"]
    assert many.shape == (20, 512), "what is cut off does not count"
    with pytest.raises(ValueError, match="text 0: it has 300000 bytes"):
        texts(pair="other").tokenize(["a" * 150_000], ["b" * 150_000])


class Panic(BaseException):
    """What pyo3 raises where Rust panics: no Exception."""


@pytest.mark.parametrize(("cause", "kind"), [(Panic("a\nb"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_panic_of_the_library_is_an_error_of_the_text(
    cause: BaseException, kind: type[BaseException], texts: Callable[..., TextModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def encode_batch(self, texts: object) -> None:
            raise cause

    module = texts()
    setting = module.module.SETTINGS["text"]
    monkeypatch.setitem(vars(setting), "tokenizer", Broken())
    with pytest.raises(kind) as caught:
        module.tokenize(["a"])
    if kind is ValueError:
        assert str(caught.value) == "input 'text', text 0: the tokenizer refuses it: a b"


def test_a_word_that_no_token_stands_for_is_refused(texts: Callable[..., TextModule], tmp_path: Path) -> None:
    module = texts("word-level")
    tokenizer = Tokenizer.from_file(str(module.file))
    tokenizer.model.unk_token = "[ABSENT]"
    module.module.SETTINGS["text"].__dict__["tokenizer"] = tokenizer
    with pytest.raises(ValueError, match="text 0: the tokenizer refuses it: WordLevel error"):
        module.tokenize(["incomprehensible"])


def test_the_library_starts_no_threads(texts: Callable[..., TextModule]) -> None:
    module = texts()
    before = len([*Path("/proc/self/task").iterdir()])
    module.tokenize(["the quick brown fox"] * 200)
    assert len([*Path("/proc/self/task").iterdir()]) == before
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
