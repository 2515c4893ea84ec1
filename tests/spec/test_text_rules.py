"""The rules on texts that become tokens, and what samples of tokens are like (a text's spec says it all)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizing import write_tokenizer

from onnxpack.core.errors import Problem
from onnxpack.spec.load import load
from onnxpack.spec.tokenizer_file import read_tokenizer

Problems = Callable[[str | bytes], list[Problem]]
Tokens = {"dtype": "int64", "shape": ["batch", "seq"]}


def make_spec(step: dict[str, Any] | None = None, **fields: Any) -> str:
    """Return a spec whose texts become tokens, with some fields of the step and the spec changed; None removes one."""
    spec = {
        "onnxpack": 1,
        "name": "small",
        "model": {"framework": "onnx", "path": "model.onnx"},
        "inputs": {"input_ids": Tokens, "attention_mask": Tokens},
        "outputs": ["logits"],
        "dynamic_axes": {"batch": [1, 8], "seq": [2, 64]},
        "preprocess": [{"op": "tokenize", "input": "text", "tokenizer": "tokenizer.json"} | (step or {})],
    }
    return json.dumps(spec | fields)


def check(problems: Problems, *given: str) -> list[str]:
    """Write a tokenizer beside the spec, and return what is wrong with each spec."""
    write_tokenizer(Path())
    return [problem.message for text in given for problem in problems(text)]


def test_texts_need_nothing_else(problems: Problems) -> None:
    assert check(problems, make_spec(), make_spec({"max_length": 64}), make_spec({"truncation": "refuse"})) == []


@pytest.mark.parametrize(
    ("step", "message", "hint"),
    [
        ({"input": "input_ids"}, "'input_ids' is an input of the model", "such as `input: text`"),
        ({"input": "logits"}, "'logits' is an output", "such as `input: text`"),
        ({"pair": "text"}, "'text' is what other texts are sent under", "such as `pair: context`"),
        (
            {"ids": "tokens"},
            "the model has no input 'tokens' for tokens",
            "set `ids`; known: input_ids, attention_mask",
        ),
        ({"mask": "input_mask"}, "the model has no input 'input_mask' for the mask of tokens", "did you mean"),
        ({"types": "kinds"}, "the model has no input 'kinds' for the texts of tokens", "set `types`"),
        ({"mask": "input_ids"}, "'input_ids' takes the tokens of two texts", "inputs of its own"),
        ({"max_length": 65}, "max_length is 65, and the model takes 64 tokens", "set `max_length: 64` or lower"),
        ({"max_length": 1}, "max_length is 1, and the model takes at least 2 tokens", "set `max_length: 2`"),
        ({"max_length": 2}, "a row has 2 tokens, and 2 are special ones", "to 3 or higher"),
        ({"tokenizer": "model.onnx"}, "'model.onnx' is no tokenizer: JSON is malformed", "that the model was trained"),
        ({"tokenizer": "absent.json"}, "cannot read 'absent.json': No such file or directory", "correct the path"),
    ],
)
def test_a_step_that_does_not_fit_is_told_with_its_cure(
    step: dict[str, Any], message: str, hint: str, problems: Problems
) -> None:
    write_tokenizer(Path())
    found = problems(make_spec(step))
    assert message in found[0].message
    assert hint in found[0].hint
    assert all(problem.where and problem.where.line for problem in found)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": Tokens | {"dtype": "float32"}}, "'input_ids' takes tokens, and is float32"),
        ({"input_ids": Tokens | {"shape": ["batch", "seq", 1]}}, "'input_ids' takes tokens, and is [batch, seq, 1]"),
        ({"attention_mask": Tokens | {"shape": ["batch", 4]}}, "'attention_mask' must have the axes of 'input_ids'"),
        (
            {"input_ids": Tokens | {"range": [0, 9]}},
            "the range of 'input_ids' ends at 9, and the tokenizer gives ids up",
        ),
    ],
)
def test_inputs_take_integers_by_row_and_token(inputs: dict[str, Any], message: str, problems: Problems) -> None:
    found = check(problems, make_spec(inputs={"input_ids": Tokens, "attention_mask": Tokens} | inputs))
    assert any(one.startswith(message) for one in found), found


def test_two_texts_cannot_feed_one_input(problems: Problems) -> None:
    steps = [{"op": "tokenize", "input": name, "tokenizer": "tokenizer.json"} for name in ("text", "other")]
    found = check(problems, make_spec(preprocess=steps))
    assert found[:2] == ["'input_ids' takes the tokens of two texts", "'attention_mask' takes the tokens of two texts"]


def test_two_texts_have_an_axis_each(problems: Problems) -> None:
    steps = [
        {"op": "tokenize", "input": name, "tokenizer": "tokenizer.json", "ids": f"{name}_ids", "mask": f"{name}_mask"}
        for name in ("text", "other")
    ]
    names = ("text_ids", "other_ids", "text_mask", "other_mask")
    fields: dict[str, Any] = {"inputs": dict.fromkeys(names, Tokens), "preprocess": steps}
    assert check(problems, make_spec(**fields)) == ["the axis 'seq' is as long as the texts of 'text'"]
    own = {name: Tokens | {"shape": ["batch", "others"]} for name in ("other_ids", "other_mask")}
    axes = {"batch": [1, 8], "seq": [2, 64], "others": [1, 9]}
    assert check(problems, make_spec(**fields | {"inputs": fields["inputs"] | own, "dynamic_axes": axes})) == []


def test_all_problems_are_told_at_once(problems: Problems) -> None:
    found = check(problems, make_spec({"ids": "tokens", "pair": "logits", "max_length": 5, "size": [1, 2]}))
    assert [text.partition(" ")[0] for text in found] == ["the", "'logits'", "size"]


def test_merges_left_out_by_chance_are_refused(problems: Problems) -> None:
    path = write_tokenizer(Path(), "byte-level")
    document = json.loads(path.read_text())
    document["model"]["dropout"] = 0.1
    path.write_text(json.dumps(document))
    (problem,) = problems(make_spec())
    assert problem.message.startswith("the tokenizer leaves out merges by chance")


def test_samples_are_ids_of_the_vocabulary_and_masks_without_being_said(project: Path) -> None:
    size = read_tokenizer(write_tokenizer(project)).size
    types = {"token_type_ids": Tokens}
    path = project / "spec.yaml"
    path.write_text(make_spec({"pair": "more"}, inputs={"input_ids": Tokens, "attention_mask": Tokens} | types))
    inputs = load(path).spec.inputs
    assert inputs["input_ids"].range == (0, size - 1)
    assert [inputs[name].padding for name in ("attention_mask", "token_type_ids")] == ["right", "left"]
    path.write_text(make_spec(inputs={"input_ids": Tokens, "attention_mask": Tokens | {"choices": [1]}} | types))
    inputs = load(path).spec.inputs
    assert inputs["attention_mask"].choices == (1,)
    assert inputs["token_type_ids"].choices == (0,)


def test_a_mask_is_of_the_tokenizers_side(project: Path) -> None:
    write_tokenizer(project, "word-level")
    (project / "spec.yaml").write_text(make_spec())
    assert load(project / "spec.yaml").spec.inputs["attention_mask"].padding == "left"
