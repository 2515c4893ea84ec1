"""Scalars by the type of their field (Y3): the right value, or what to write instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from command_line import SMALL

from onnxpack.core.errors import Problem
from onnxpack.spec.constraints import Between, Duration, Later, Pattern, Size
from onnxpack.spec.decode import INVALID, MAX_PROBLEMS, Decoder, TooManyProblems
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.model import AxisRange, Input, Spec
from onnxpack.spec.yaml_nodes import parse

Problems = Callable[[str | bytes], list[Problem]]


def decode(kind: Any, text: str) -> Any:
    """The value of ``a`` in ``a: TEXT``, or the only problem as a string."""
    (_, node) = parse(f"a: {text}\n", "spec.yaml").pairs[0]
    decoder = Decoder()
    value = decoder.decode(kind, node, ("a",))
    if not decoder.problems:
        assert value is not INVALID
        return value
    (problem,) = decoder.problems
    assert problem.where
    return str(problem)


@pytest.mark.parametrize("text", ["3.10", "3.", ".5", "1e3", "1E-3", "010", "0", "7", "0x10", "0b11", "0o17", "1_000"])
@pytest.mark.parametrize("sign", ["", "+", "-"])
def test_what_a_reader_may_take_for_a_number_is_text_only_in_quotes(text: str, sign: str) -> None:
    assert decode(str, sign + text).endswith(f'a must be text, and {sign}{text} is not (quote it: "{sign}{text}")')
    assert decode(str, f'"{text}"') == text
    assert decode(str, f"'{text}'") == text


@pytest.mark.parametrize("text", ["12:30", "1:2:3", "190:20:30.15", ".inf", "-.INF", ".NaN"])
def test_text_like_a_number_of_another_base_needs_quotes(text: str) -> None:
    assert f'(quote it: "{text}")' in decode(str, text)
    assert decode(str, f'"{text}"') == text


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off", "true", "False", "null", "~"])
def test_yaml_word_where_text_is_meant_needs_quotes(text: str) -> None:
    assert f'(quote it: "{text}")' in decode(str, text)
    assert decode(str, f'"{text}"') == text


@pytest.mark.parametrize("text", ["1.4.0", "v1", "1.0-rc1", "a1e3", "linux/amd64", "nothing", "once", "e3", "0xfg"])
def test_other_plain_words_are_text(text: str) -> None:
    assert decode(str, text) == text


def test_a_block_of_text_is_text() -> None:
    assert decode(str, "|\n  12\n") == "12\n"


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("17", 17), ("-3", -3), ("+3", 3), ("1_000", 1000), ("-0", 0)])
def test_whole_number_in_decimal_digits_is_read(text: str, value: int) -> None:
    decoded = decode(int, text)
    assert (decoded, type(decoded)) == (value, int)


@pytest.mark.parametrize(
    "text", ["010", "0x10", "0b1", "0o7", "12:30", "1e3", "1.0", "1.", "1,000", "ten", "yes", "1_", "1__0", "9" * 41]
)
def test_text_that_is_no_whole_number_is_refused(text: str) -> None:
    assert decode(int, text).endswith("is not a whole number (use decimal digits)")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("1", 1.0), ("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), ("1E-07", 1e-7), ("0.10", 0.1)],
)
def test_number_in_decimal_digits_is_read(text: str, value: float) -> None:
    decoded = decode(float, text)
    assert (decoded, type(decoded)) == (value, float)


@pytest.mark.parametrize("text", ["010", "00.5", "0x1F", "12:30", "1_000.5", ".inf", ".nan", "inf", "nan", "1e", "."])
def test_text_that_is_no_number_is_refused(text: str) -> None:
    assert decode(float, text).endswith("is not a number (use decimal digits)")


@pytest.mark.parametrize(("kind", "text"), [(int, "8"), (float, "0.5"), (bool, "true")])
def test_a_number_or_boolean_in_quotes_is_told_to_lose_them(kind: type, text: str) -> None:
    assert decode(kind, f'"{text}"').endswith("(remove the quotes)")


def test_boolean_other_than_true_and_false_is_refused() -> None:
    assert decode(bool, "true") is True
    assert decode(bool, "false") is False
    for text in ("yes", "on", "True", "1", "no"):
        assert decode(bool, text).endswith("is not a boolean (use true or false)")


@pytest.mark.parametrize("kind", [str, int, float, bool, str | None, Annotated[str, Pattern("a*", "a's")]])
def test_empty_value_is_refused(kind: Any) -> None:
    assert "a is empty (give it a value)" in decode(kind, "")


@pytest.mark.parametrize("kind", [str, int, float, bool])
@pytest.mark.parametrize(("text", "shape"), [("[1]", "a list"), ("{b: 1}", "a mapping")])
def test_collection_where_a_scalar_is_meant_is_refused(kind: Any, text: str, shape: str) -> None:
    assert decode(kind, text).endswith(f"not {shape} (give it a single value)")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1_000", -1000),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("true", True),
        ("null", None),
        ('"no"', "no"),
        ('"010"', "010"),
        ("relu", "relu"),
        ("[1, [a, {b: 2.5}]]", (1, ("a", {"b": 2.5}))),
        ("{}", {}),
    ],
)
def test_an_argument_of_no_fixed_type_is_read_as_json_would_be(text: str, value: object) -> None:
    decoded = decode(Any, text)
    assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", "0x10", "12:30", "yes", "No", "~", "NULL", "True", "1_000.5", ".inf"])
def test_an_argument_that_readers_disagree_about_is_refused(text: str) -> None:
    assert f'what {text} means depends on the YAML reader (quote it: "{text}"' in decode(Any, text)


def test_an_argument_that_is_empty_or_too_large_is_refused() -> None:
    assert "a is empty" in decode(Any, "")
    assert "is too large" in decode(Any, "9" * 5000)
    assert "is too large" in decode(Any, "1e999")
    assert "is too large" in decode(Any, "9" * 400 + ".5")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2048", 2048),
        ("64MiB", 64 << 20),
        ("64 MiB", 64 << 20),
        ("150MB", 150_000_000),
        ("1.5k", 1500),
        ("1.5kB", 1500),
        ("2KiB", 2048),
        ("2G", 2_000_000_000),
        ('"64MiB"', 64 << 20),
    ],
)
def test_size_with_each_unit_is_read(text: str, value: int) -> None:
    assert decode(Annotated[int, Size(1024, 1 << 40)], text) == value


@pytest.mark.parametrize("text", ["big", "64megs", "-1MB", "1e3MB", "", "[64MB]", "9" * 400, "٣MB", "1.MB"])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    assert "a must be a size (use a number with a unit" in decode(Annotated[int, Size(1024, 1 << 40)], text)


def test_bounds_hold_at_both_ends() -> None:
    for kind, fits, outside in (
        (Annotated[int, Between(7, 26)], ("7", "26"), ("6", "27", "-7")),
        (Annotated[float, Between(0, 1)], ("0", "1", "0.5"), ("-0.001", "1.001", "1e999")),
        (Annotated[int, Size(1024, 4096)], ("1KiB", "4KiB"), ("1023", "4097", "1T")),
        (Annotated[float, Duration(0, 60)], ("0s", "60s", "1m"), ("61s", "1h")),
    ):
        assert all(not isinstance(decode(kind, text), str) for text in fits)
        assert all("outside" in decode(kind, text) for text in outside)
    assert decode(Annotated[int, Between(1, 1)], "2").endswith("a must be 1, not 2 (set `a: 1`)")


def test_a_pattern_must_match_the_whole_text() -> None:
    kind = Annotated[str, Pattern("[a-z]+", "lower-case letters")]
    assert decode(kind, "abc") == "abc"
    for text in ('"abc\\n"', "a.b", '""', '"a\\u0007"'):
        assert "is not made of lower-case letters" in decode(kind, text)
    assert "\a" not in decode(kind, '"a\\u0007"')


@dataclass(frozen=True)
class Part:
    size: int = field(metadata={"doc": "How large."})
    name: str = field(default="x", metadata={"doc": "Its name."})
    new: str = field(default="", metadata={"doc": "To come.", "later": True})


def test_a_record_takes_its_own_fields_once() -> None:
    assert decode(Part, "{size: 3}") == Part(3)
    assert decode(Part, "{name: y, size: 3}") == Part(3, "y")
    assert "'size' is missing in a (add `size:`. How large.)" in decode(Part, "{}")
    assert "duplicate key 'size' (line 1 has it too: remove one)" in decode(Part, "{size: 3, size: 4}")
    assert "a.new is not supported yet (remove it)" in decode(Part, "{size: 3, new: x}")
    assert "a must be a mapping, not a list" in decode(Part, "[3]")


def test_a_slip_in_a_field_s_name_is_told_once_and_not_also_as_missing() -> None:
    assert "unknown field 'sise' in a (did you mean 'size'?)" in decode(Part, "{sise: 3}")


def test_two_numbers_are_short_for_an_axis() -> None:
    assert decode(AxisRange, "[2, 512]") == AxisRange(max=512, min=2)
    assert decode(AxisRange, "{max: 512}") == AxisRange(max=512, min=1)
    for text in ("[2]", "[1, 2, 3]", "64"):
        assert "a must be a mapping" in decode(AxisRange, text)


def test_numbers_keep_their_kind_where_both_are_allowed() -> None:
    tensor = decode(Input, "{dtype: int64, shape: [1, n], range: [0, 9007199254740993], choices: [1, 1.5, x, true]}")
    assert tensor.range == (0, 9007199254740993)
    assert [type(choice) for choice in tensor.choices] == [int, float, str, bool]
    assert tensor.shape == (1, "n")


def test_values_of_a_later_release_are_refused_and_today_s_are_named() -> None:
    @dataclass(frozen=True)
    class Choice:
        precision: Annotated[Literal["float32", "float16"], Later("float16")] = field(metadata={"doc": ""})

    assert decode(Choice, "{precision: float32}").precision == "float32"
    assert "'float16' is not supported yet (use float32)" in decode(Choice, "{precision: float16}")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("image: {python: 3.10}\n", "put it in quotes, else it is a number"),
        ("image: {python: 3.11}\n", 'quote it: "3.11"'),
        ("version: 1.10\n", 'quote it: "1.10"'),
        ("version: no\n", 'quote it: "no"'),
        ("image: {labels: {at: 12:30}}\n", 'quote it: "12:30"'),
        ("image: {labels: {1: x}}\n", 'quote it: "1"'),
        ("image: {env: {A: 1e3}}\n", 'quote it: "1e3"'),
        ("runtime: {port: 010}\n", "use decimal digits"),
        ('runtime: {port: "8080"}\n', "remove the quotes"),
        ("runtime: {threads: 2.0}\n", "is not a whole number"),
        ("runtime: {threads: many}\n", "known: auto"),
    ],
)
def test_the_fields_of_a_spec_have_these_types(more: str, told: str, problems: Problems) -> None:
    (problem,) = problems(SMALL + more)
    assert told in problem.hint or told in problem.message
    assert problem.where
    assert problem.where.line == 10


def test_the_closest_word_or_a_few_known_ones() -> None:
    assert suggest_closest("vallidate", ["build", "validate"]) == "did you mean 'validate'?"
    assert suggest_closest("zzz", ["build", "validate"]) == "known: build, validate"
    assert len(suggest_closest("zzz", [f"word{n}" for n in range(10_000)])) < 500


def test_load_with_too_many_problems_stops(problems: Problems) -> None:
    wrong = "".join(f"  l{n}: {n}\n" for n in range(MAX_PROBLEMS + 10))
    found = problems(f"{SMALL}image:\n labels:\n{wrong}")
    assert len(found) == MAX_PROBLEMS + 1
    assert str(found[-1]) == "spec.yaml: it has more than 100 problems (correct these first)"
    exactly = "".join(f"  l{n}: {n}\n" for n in range(MAX_PROBLEMS))
    assert len(problems(f"{SMALL}image:\n labels:\n{exactly}")) == MAX_PROBLEMS


def test_decoder_with_too_many_problems_stops() -> None:
    many = parse("".join(f"l{n}: {n}\n" for n in range(5_000)), "spec.yaml")
    decoder = Decoder()
    with pytest.raises(TooManyProblems):
        decoder.decode(Mapping[str, str], many)
    assert len(decoder.problems) == MAX_PROBLEMS + 1


def test_every_field_of_the_model_says_what_it_means() -> None:
    decoder = Decoder()
    assert decoder.decode(Spec, parse("x: 1\n", "spec.yaml")) is INVALID
    missing = [problem for problem in decoder.problems if "is missing" in problem.message]
    assert [problem.message for problem in missing] == [
        f"'{name}' is missing" for name in ("onnxpack", "name", "model", "inputs")
    ]
    assert all(problem.hint.startswith("add `") and problem.hint.endswith(".") for problem in missing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets: {cpu: {device: gpu}}", "did you mean 'cuda'?"),
        ("inputs: {x: {dtype: float, shape: [1]}}", "did you mean 'float32'?"),
        ("inputs: {x: {dtype: double, shape: [1]}}", "did you mean 'float64'?"),
        ("targets: {cpu: {precision: int8}}", "did you mean 'int8-static' or 'int8-dynamic'?"),
        ("targets: {cpu: {precision: FP16}}", "did you mean 'float16'?"),
        ("name: Bad_Name", "did you mean 'bad-name'?"),
        (f"model: {{framework: onnx, sha256: 'sha256:{'A' * 64}'}}", f"did you mean '{'a' * 64}'?"),
        ("image: {repository: Registry.example.com/Risk}", "did you mean 'registry.example.com/risk'?"),
    ],
)
def test_wrong_value_that_is_usual_elsewhere_names_the_right_one(text: str, words: str) -> None:
    decoder = Decoder()
    decoder.decode(Spec, parse(f"{text}\n", "spec.yaml"))
    assert words in " ".join(problem.hint for problem in decoder.problems)


@pytest.mark.parametrize("text", ["___", "${NAME}_X"])
def test_name_that_cannot_be_repaired_has_no_suggestion(text: str) -> None:
    decoder = Decoder()
    decoder.decode(Spec, parse(f"name: {text}\n", "spec.yaml"))
    assert "did you mean" not in " ".join(problem.hint for problem in decoder.problems)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 250e-6),
        ("250 µs", 250e-6),
        ("5ms", 0.005),
        ("2 s", 2.0),
        ("1m", 60.0),
        ("2min", 120.0),
        ("1h", 3600.0),
    ],
)
def test_duration_in_a_usual_unit_is_read(text: str, seconds: float) -> None:
    assert decode(Annotated[float, Duration(0, 3600)], text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [("1gb", 10**9), ("500 MB", 5 * 10**8), ("64KiB", 65536), ("2G", 2 * 10**9)])
def test_size_in_a_usual_unit_is_read(text: str, size: int) -> None:
    assert decode(Annotated[int, Size(1, 2**50)], text) == size


def test_value_outside_its_bounds_is_told_in_units() -> None:
    assert "a: 2h is outside 0s to 1h" in decode(Annotated[float, Duration(0, 3600)], "2h")
    assert "a: 10B is outside 1KiB to 1TiB" in decode(Annotated[int, Size(1024, 2**40)], "10")
