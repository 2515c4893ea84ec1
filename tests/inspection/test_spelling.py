from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.inspection.spelling import UNSET, document, scalar
from onnxpack.spec.decode import Decoder
from onnxpack.spec.yaml_nodes import parse

LEAVES = st.one_of(
    st.booleans(), st.none(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["yes", "1.0", "1e5", "~", "0x1f", "12:30", "- x", "a: b", "#", "null", "${HOME}", "*a", "!x"]),
)  # fmt: skip
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda key: key != "<<")
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def read(text: str) -> Any:
    decoder = Decoder()
    value = decoder.decode(Any, parse(text, "text"))
    assert not decoder.problems
    return value


def tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(tuples, value))
    return {key: tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.text())
def test_values_as_yaml_read_back_the_same(fields: dict[str, Any], note: str) -> None:
    notes = {(): [note], (next(iter(fields)),): [note, note]}
    assert read(document(fields, notes)) == tuples(fields)


@pytest.mark.parametrize("text", ["float32", "model.py:Net", "../model.py:Net", "a" * 64, "weights/digits.pt"])
def test_plain_words_stay_plain(text: str) -> None:
    assert scalar(text) == text


@pytest.mark.parametrize("text", ["1.0.0", "3.11", "yes", "null", "a b", "", "x:", "-", "1" * 64, "0b" + "1" * 62])
def test_text_that_yaml_could_misread_is_quoted(text: str) -> None:
    assert scalar(text) == f'"{text}"'


def test_comments_stand_above_their_field_even_where_it_is_not_set() -> None:
    fields = {"name": "x", "version": UNSET, "model": {"path": "m.onnx", "sha256": UNSET}, "opset": 17}
    notes = {
        (): ["head"],
        ("version",): ["no version"],
        ("model", "sha256"): ["no digest"],
        ("opset",): ["own\nopset: 9"],
    }
    assert document(fields, notes) == (
        "# head\n"
        "name: x\n"
        "\n"
        "# no version\n"
        "\n"
        "model:\n"
        "  path: m.onnx\n"
        "  # no digest\n"
        "\n"
        "# own\N{REPLACEMENT CHARACTER}opset: 9\n"
        "opset: 17\n"
    )
