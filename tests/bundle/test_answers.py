"""What outputs mean, as far as a spec says it."""

from pathlib import Path

import pytest

from onnxpack.bundle.answers import Answers, Pair, find_answers
from onnxpack.core.values import TensorInfo
from onnxpack.spec.load import load

WORDS = ("setosa", "versicolor", "virginica")
SCORES = TensorInfo("scores", "float32", ("batch", 3))


def read(
    folder: Path, steps: str, outputs: tuple[TensorInfo, ...], more: str = "", words: tuple[str, ...] = WORDS
) -> Answers:
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    (folder / "model.onnx").write_bytes(b"")
    (folder / "x.npz").write_bytes(b"")
    (folder / "spec.yaml").write_text(
        "onnxpack: 1\nname: x\nmodel: {framework: onnx, path: model.onnx}\n"
        "inputs: {x: {dtype: float32, shape: [batch, 4]}}\ndynamic_axes: {batch: [1, 8]}\n"
        f"postprocess: [{steps}]\n{more}"
    )
    return find_answers(load(folder / "spec.yaml"), outputs)


def name(word: str, dtype: str = "float32", *shape: int) -> TensorInfo:
    return TensorInfo(word, dtype, ("batch", *shape))


def test_the_words_of_a_label_name_the_scores_that_it_is_of(tmp_path: Path) -> None:
    steps = "{op: softmax, input: logits, output: scores}, {op: labels, input: scores, output: word, labels: words.txt}"
    outputs = (name("logits", "float32", 3), SCORES, name("word", "string"), name("other", "float32", 3))
    assert read(tmp_path, steps, outputs).classes == {"logits": WORDS, "scores": WORDS}
    steps = "{op: argmax, input: scores, output: best}, {op: labels, input: best, labels: words.txt}"
    assert read(tmp_path, steps, (SCORES, name("best", "string"))).classes == {"scores": WORDS}
    assert read(tmp_path, steps, (name("scores", "float32", 4), name("best", "string"))).classes == {}


def test_the_best_of_topk_are_pairs(tmp_path: Path) -> None:
    places = (name("scores_values", "float32", 2), name("scores_labels", "string", 2))
    found = read(tmp_path, "{op: topk, input: scores, k: 2, labels: words.txt}", places)
    assert found.pairs == (Pair("scores", "scores_values", "scores_labels", "label"),)
    assert found.list_names(["scores_values", "scores_labels", "other"]) == ["scores", "other"]
    outputs = (SCORES, name("best_values", "float32", 2), name("best_indices", "int64", 2))
    step = "{op: topk, input: scores, k: 2, output: best}"
    assert read(tmp_path, step, outputs).pairs == (Pair("best", "best_values", "best_indices", "index"),)
    steps = f"{step}, {{op: labels, input: best_indices, labels: words.txt}}"
    outputs = (SCORES, name("best_values", "float32", 2), name("best_indices", "string", 2))
    assert read(tmp_path, steps, outputs).pairs == (Pair("best", "best_values", "best_indices", "label"),)
    assert read(tmp_path, step, outputs[:2]).pairs == (), "there is one half only"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ((SCORES,), {"scores": WORDS}),
        ((name("label", "int64"), SCORES), {"scores": WORDS}),
        ((SCORES, name("more", "float32", 3)), {}),
        ((name("scores", "float32", 4),), {}),
    ],
)
def test_the_classes_of_an_evaluation_name_the_only_scores(
    outputs: tuple[TensorInfo, ...], expected: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    more = f"evaluation: {{data: x.npz, labels: y, classes: [{', '.join(WORDS)}]}}\n"
    assert read(tmp_path, "", outputs, more).classes == expected


def test_the_model_may_know_its_classes(tmp_path: Path) -> None:
    read(tmp_path, "", ())
    file = load(tmp_path / "spec.yaml")
    assert find_answers(file, (name("label", "string"), SCORES), WORDS).classes == {"scores": WORDS}
    assert find_answers(file, (name("label", "string"), SCORES), WORDS[:2]).classes == {}


def test_words_that_are_there_twice_name_nothing(tmp_path: Path) -> None:
    steps = "{op: labels, input: scores, output: word, labels: words.txt}"
    outputs = (SCORES, name("word", "string"))
    assert read(tmp_path, steps, outputs).classes == {"scores": WORDS}
    assert read(tmp_path, steps, outputs, words=("crane", "crane", "ox")).classes == {}
