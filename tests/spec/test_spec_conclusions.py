"""Which outputs the module makes of the ONNX file's, what a client gets, and which steps are refused."""

from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec
from tokenizing import write_tokenizer

from onnxpack.core.errors import SpecError
from onnxpack.core.values import TensorInfo
from onnxpack.inspection.signature import describe_signature
from onnxpack.spec.conclusions import conclude_outputs, explain_misfit, list_conclusions, list_output_names
from onnxpack.spec.model import Spec

TOKENS = {"dtype": "int64", "shape": ["batch", "seq"]}
TEXT = {"op": "tokenize", "input": "text", "tokenizer": "tokenizer.json"}
PAIR = TEXT | {"input": "question", "pair": "text"}
ENTITIES = {"op": "decode", "kind": "entities", "input": "logits", "labels": "labels.txt"}
ANSWER = {"op": "decode", "kind": "answer", "input": "start", "end": "end", "max_answer": 7}
SCORES = TensorInfo("logits", "float32", ("batch", "seq", 2))


def write(folder: Path, texts: list[dict[str, Any]], *steps: dict[str, Any], outputs: str = "logits") -> Spec:
    (folder / "m.onnx").touch()
    (folder / "labels.txt").write_text("O\nB-X\n")
    write_tokenizer(folder)
    inputs = {"input_ids": TOKENS, "attention_mask": TOKENS | {"choices": [0, 1]}}
    fields = {"inputs": inputs, "outputs": outputs.split(), "preprocess": texts, "postprocess": list(steps)}
    axes = {"batch": [1, 4], "seq": [1, 16]}
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields, dynamic_axes=axes, opset=18).spec


def test_entities_take_the_place_of_their_scores(tmp_path: Path) -> None:
    spec = write(tmp_path, [TEXT], ENTITIES)
    (one,) = list_conclusions(spec)
    assert (one.taken, one.given, one.tokens, one.text) == (("logits",), "entities", "text", "text")
    assert conclude_outputs(spec, [SCORES]) == (TensorInfo("entities", "string", ("batch",)),)
    assert conclude_outputs(spec, []) == ()
    assert list_output_names(spec) == ("entities",)
    described = describe_signature(spec)
    assert described["inputs"] == [{"name": "text", "dtype": "string", "shape": ["batch"]}]
    assert described["outputs"] == [{"name": "entities"}]
    assert list(described["axes"]) == ["batch"]


def test_an_answer_is_about_the_second_text_of_a_pair(tmp_path: Path) -> None:
    spec = write(tmp_path, [PAIR], ANSWER | {"keep": True}, outputs="start end")
    (one,) = list_conclusions(spec)
    assert (one.taken, one.given, one.tokens, one.text) == (("start", "end"), "answer", "question", "text")
    assert list_output_names(spec) == ("start", "end", "answer")


def test_outputs_behind_steps_are_known_by_name(tmp_path: Path) -> None:
    topk = {"op": "topk", "input": "p", "k": 2, "keep": False, "output": "best", "labels": "labels.txt"}
    spec = write(tmp_path, [TEXT], {"op": "softmax", "input": "logits", "output": "p"}, topk, ENTITIES)
    assert list_output_names(spec) == ("entities", "best_values", "best_labels")


@pytest.mark.parametrize(
    ("texts", "step", "words"),
    [
        ([], ENTITIES, "decode needs the one text that the scores are of, and there are 0 steps of tokenize"),
        ([TEXT], ANSWER, "an answer needs a question and a text"),
        ([PAIR], ENTITIES, "entities are found in one text, and tokenize takes pairs"),
        ([TEXT], {"op": "decode", "kind": "entities", "input": "logits"}, "decode to entities needs labels"),
        ([PAIR], {"op": "decode", "kind": "answer", "input": "start"}, "decode to answer needs end"),
        ([TEXT], ENTITIES | {"max_answer": 3}, "max_answer does not apply to decode to entities"),
        ([PAIR], ANSWER | {"aggregation": "first"}, "aggregation does not apply to decode to answer"),
        ([TEXT], {"op": "decode", "input": "logits"}, "decode needs kind"),
    ],
)
def test_what_cannot_be_decoded_is_refused(tmp_path: Path, texts: list[Any], step: Any, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        write(tmp_path, texts, step, outputs="logits start end")
    assert words in str(refused.value)


def test_decode_comes_last(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="decode is done behind the ONNX file"):
        write(tmp_path, [TEXT], ENTITIES | {"keep": True}, {"op": "softmax", "input": "logits"})


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (SCORES, ""),
        (TensorInfo("logits", "float32", ("batch", "seq", 3)), "decode has 2 labels, and 'logits' has 3 classes"),
        (TensorInfo("logits", "float32", ("batch", 2)), "decode needs scores [batch, tokens, classes]"),
        (TensorInfo("logits", "int64", ("batch", "seq", 2)), "and 'logits' is int64 [batch, seq, 2]"),
        (TensorInfo("other", "float32", ("batch", "seq", 2)), "there is no output 'logits' here"),
    ],
)
def test_scores_that_do_not_fit_are_told(tmp_path: Path, info: TensorInfo, words: str) -> None:
    (one,) = list_conclusions(write(tmp_path, [TEXT], ENTITIES))
    assert words in explain_misfit(one, [info], 2)
    assert bool(explain_misfit(one, [info], 2)) == bool(words)
