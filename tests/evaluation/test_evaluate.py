"""Metrics: which output each is of, that they are scikit-learn's, and the source's and a model's score on one data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import export_here, write_spec
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_examples import make_model
from sklearn import metrics

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, OnnxpackError, SourceError, SpecError
from onnxpack.data.test_inputs import Arrays
from onnxpack.evaluation.evaluate import EVALUATION, Score, compute_degradation, score_model, score_source
from onnxpack.evaluation.score import compute_built_in
from onnxpack.spec.load import SpecFile
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.evaluate import ScoreSource
from onnxpack.worker.codec import digest_value

RANDOM = np.random.default_rng(0)
Y3 = RANDOM.integers(0, 3, 60)
S3 = RANDOM.standard_normal((60, 3)).astype(np.float32) + 2 * np.eye(3, dtype=np.float32)[Y3]
P3 = np.exp(S3) / np.exp(S3).sum(axis=1, keepdims=True)
Y2 = RANDOM.integers(0, 2, 60)
S2 = (RANDOM.standard_normal(60) + 2 * Y2 - 1).astype(np.float32)
P2 = 1 / (1 + np.exp(-S2))
WORDS = np.array(["cat", "dog", "owl"])
YR, PR = RANDOM.standard_normal(60), RANDOM.standard_normal((60, 1)).astype(np.float32)

CHOICES: dict[str, tuple[str, Arrays, Any, float]] = {
    # what it shows: metric, outputs, labels, the value
    "scores": ("accuracy", {"s": S3}, Y3, metrics.accuracy_score(Y3, S3.argmax(1))),
    "predictions before scores": ("accuracy", {"s": S3, "label": Y3}, Y3, 1.0),
    "predictions as a column": ("accuracy", {"label": Y3[:, None]}, Y3, 1.0),
    "labels as a column": ("accuracy", {"s": S3}, Y3[:, None], metrics.accuracy_score(Y3, S3.argmax(1))),
    "strings": ("accuracy", {"label": WORDS[S3.argmax(1)]}, WORDS[Y3], metrics.accuracy_score(Y3, S3.argmax(1))),
    "strings as objects": ("accuracy", {"label": WORDS[Y3].astype(object)}, WORDS[Y3], 1.0),
    "whole floats": ("accuracy", {"s": S3}, Y3.astype(np.float32), metrics.accuracy_score(Y3, S3.argmax(1))),
    "predictions from 1": ("accuracy", {"label": Y3 + 1, "s": S3}, Y3 + 1, 1.0),
    "one logit": ("accuracy", {"s": S2}, Y2, metrics.accuracy_score(Y2, S2 > 0)),
    "one probability": ("accuracy", {"s": P2[:, None]}, Y2, metrics.accuracy_score(Y2, P2 > 0.5)),
    "booleans": ("accuracy", {"s": S2 > 0}, Y2.astype(bool), metrics.accuracy_score(Y2, S2 > 0)),
    "tokens": (
        "accuracy", {"s": S3.reshape(6, 10, 3)}, Y3.reshape(6, 10), metrics.accuracy_score(Y3, S3.argmax(1)),
    ),
    "float16": ("accuracy", {"s": S3.astype(np.float16)}, Y3, metrics.accuracy_score(Y3, S3.argmax(1))),
    "f1 of three": ("f1", {"s": S3}, Y3, metrics.f1_score(Y3, S3.argmax(1), average="macro")),
    "f1 of two": ("f1", {"s": S2}, Y2, metrics.f1_score(Y2, S2 > 0)),
    "f1 of two words": ("f1", {"label": WORDS[(S2 > 0) * 1]}, WORDS[Y2], metrics.f1_score(Y2, S2 > 0)),
    "f1 without a positive": ("f1", {"label": np.zeros(9, int)}, np.zeros(9, int), 0.0),
    "auc of a logit": ("auc", {"label": Y2, "s": S2}, Y2, metrics.roc_auc_score(Y2, S2)),
    "auc of two columns": ("auc", {"s": np.stack([1 - P2, P2], 1)}, Y2, metrics.roc_auc_score(Y2, P2)),
    "auc of probabilities": ("auc", {"s": P3}, Y3, metrics.roc_auc_score(Y3, P3.astype(float), multi_class="ovr")),
    "auc of logits": ("auc", {"s": S3}, Y3, metrics.roc_auc_score(Y3, P3.astype(float), multi_class="ovr")),
    "top-2": ("top-2", {"s": S3}, Y3, metrics.top_k_accuracy_score(Y3, S3, k=2)),
    "top-1": ("top-1", {"s": S3}, Y3, metrics.accuracy_score(Y3, S3.argmax(1))),
    "top-k": (
        "top-k", {"s": np.tile(S3, 4)}, Y3, metrics.top_k_accuracy_score(Y3, np.tile(S3, 4), k=5, labels=range(12)),
    ),
    "mse": ("mse", {"y": PR}, YR, metrics.mean_squared_error(YR, PR.ravel())),
    "mae": ("mae", {"y": PR}, YR, metrics.mean_absolute_error(YR, PR.ravel())),
    "r2": ("r2", {"names": WORDS[Y3], "y": PR}, YR, metrics.r2_score(YR, PR.ravel())),
    "mse of whole numbers": ("mse", {"y": Y3}, Y3 + 2, 4.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOICES)
def test_a_metric_is_scikit_learns_of_the_output_that_fits(kind: str) -> None:
    metric, outputs, labels, value = CHOICES[kind]
    assert compute_built_in(metric, outputs, labels) == pytest.approx(value, abs=1e-6)


TURNED = ["owl", "dog", "cat"]  # against the order of sorting
RIGHT3 = metrics.accuracy_score(Y3, S3.argmax(1))
MAPPED: dict[str, tuple[str, Arrays, Any, list[Any], float]] = {
    # what it shows: metric, outputs, labels, classes, the value
    "scores of words": ("accuracy", {"s": S3}, WORDS[Y3], list(WORDS), RIGHT3),
    "scores of words in an order of their own": ("accuracy", {"s": S3}, np.array(TURNED)[Y3], TURNED, RIGHT3),
    "scores from 1": ("accuracy", {"s": S3}, Y3 + 1, [1, 2, 3], RIGHT3),
    "scores from 1, backwards": ("accuracy", {"s": S3}, 3 - Y3, [3, 2, 1], RIGHT3),
    "whole floats from 1": ("accuracy", {"s": S3}, Y3 + 1.0, [1, 2, 3], RIGHT3),
    "scores before integers": ("accuracy", {"label": Y3 + 1, "s": S3}, Y3 + 1, [1, 2, 3], RIGHT3),
    "words before scores": ("accuracy", {"s": S3, "label": np.array(TURNED)[Y3]}, np.array(TURNED)[Y3], TURNED, 1.0),
    "class numbers of words": ("accuracy", {"label": S3.argmax(1)}, WORDS[Y3], list(WORDS), RIGHT3),
    "class numbers from 1": ("accuracy", {"label": S3.argmax(1)}, Y3 + 1, [1, 2, 3], RIGHT3),
    "a class that no row has": (
        "accuracy", {"s": S3}, WORDS[Y3 % 2], list(WORDS), metrics.accuracy_score(Y3 % 2, S3.argmax(1)),
    ),
    "one logit of words": ("accuracy", {"s": S2}, WORDS[Y2], ["cat", "dog"], metrics.accuracy_score(Y2, S2 > 0)),
    "one logit of -1 and 1": ("accuracy", {"s": S2}, 2 * Y2 - 1, [-1, 1], metrics.accuracy_score(Y2, S2 > 0)),
    "f1 of the class named last": ("f1", {"s": S2}, WORDS[1 - Y2], ["dog", "cat"], metrics.f1_score(Y2, S2 > 0)),
    "auc of words": ("auc", {"s": S2}, WORDS[Y2], ["cat", "dog"], metrics.roc_auc_score(Y2, S2)),
    "auc beside words": (
        "auc", {"label": WORDS[Y3], "s": P3}, WORDS[Y3], list(WORDS), metrics.roc_auc_score(Y3, P3, multi_class="ovr"),
    ),
    "top-2 of words": ("top-2", {"s": S3}, WORDS[Y3], list(WORDS), metrics.top_k_accuracy_score(Y3, S3, k=2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", MAPPED)
def test_classes_map_labels_to_the_models_columns(kind: str) -> None:
    metric, outputs, labels, classes, value = MAPPED[kind]
    assert compute_built_in(metric, outputs, labels, classes) == pytest.approx(value, abs=1e-6)


Y10 = np.arange(40) % 10
S10 = np.eye(10, dtype=np.float32)[Y10]
UNMATCHED: dict[str, tuple[Arrays, Any, list[Any], str, str]] = {
    # what it shows: outputs, labels, classes, the message, the hint
    "labels from 1": (
        {"s": S10}, Y10 + 1, [],
        "the labels are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and output 's' has 10 columns, 0 to 9",
        "`classes: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`",
    ),
    "many labels": (
        {"s": np.eye(12)[np.arange(12)]}, np.arange(12) + 1, [],
        "the labels are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more, and output 's' has 12 columns, 0 to 11",
        "`classes: [first, second, …]`",
    ),
    "words": (
        {"s": S3}, WORDS[Y3], [],
        "the labels are 'cat', 'dog', 'owl', and output 's' has 3 columns, 0 to 2",
        '`classes: ["cat", "dog", "owl"]`',
    ),
    "one logit of words": ({"s": S2}, WORDS[Y2], [], "the labels are 'cat', 'dog', and output 's' has 2", "classes"),
    "argmax of labels from 1": (
        {"label": Y10}, Y10 + 1, [],
        "the labels are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and output 'label' gives 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "`classes: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`",
    ),
    "argmax beside scores": (
        {"label": Y10 % 5, "s": S10}, Y10 + 1, [], "output 'label' gives 0, 1, 2, 3, 4", "`classes: [1, 2"),
    "fractions": ({"s": S3}, Y3 - 1.5, [], "accuracy compares classes, and the labels are -1.5, -0.5, 0.5", "mse, mae"),
    "too few classes": ({"s": S3}, Y2, [0, 1], "classes has 2 labels, and output 's' has 3 columns", "for each column"),
    "a label that classes lack": (
        {"s": S3}, WORDS[Y3], ["cat", "dog", "bee"], "the data has labels that evaluation.classes lacks: 'owl'",
        "classes has 'cat', 'dog', 'bee'; list every label, as the texts that they are in the data",
    ),
    "texts for numbers": (
        {"s": S3}, Y3 + 1, ["1", "2", "3"], "the data has labels that evaluation.classes lacks: 1, 2, 3", "numbers"),
    "a word that classes lack": (
        {"label": WORDS[Y3]}, WORDS[Y2], ["cat", "dog"],
        "output 'label' has labels that evaluation.classes lacks: 'owl'", "classes has 'cat', 'dog'",
    ),
    "labels for column numbers": (
        {"label": Y10 + 1}, Y10 + 1, list(range(1, 11)),
        "output 'label' gives 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and the columns of 10 classes are numbered 0 to 9",
        "leave classes out if these are the labels themselves",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNMATCHED)
def test_labels_that_are_not_the_models_classes_are_refused(kind: str) -> None:
    outputs, labels, classes, words, hint = UNMATCHED[kind]
    with pytest.raises(SpecError) as refused:
        compute_built_in("accuracy", outputs, labels, classes)
    problem = refused.value.problems[0]
    assert words in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("metric", ["accuracy", "f1", "auc", "top-2"])
def test_labels_from_1_are_refused_by_every_metric_of_classes(metric: str) -> None:
    assert compute_built_in(metric, {"s": S3}, Y3) == compute_built_in(metric, {"s": S3}, Y3 + 1, [1, 2, 3])
    with pytest.raises(SpecError, match="the labels are 1, 2, 3"):
        compute_built_in(metric, {"s": S3}, Y3 + 1)


def test_a_model_that_predicts_its_labels_and_misses_one_is_scored() -> None:
    predicted = np.where(Y10 == 9, 1, Y10 + 1)
    assert compute_built_in("accuracy", {"label": predicted, "s": S10}, Y10 + 1) == 0.9


REFUSED: list[tuple[str, Arrays, Any, str]] = [
    ("accuracy", {"s": S3}, Y3[:59], "no output has predictions or scores for labels of int64[59]"),
    ("accuracy", {"label": WORDS[Y3]}, Y3, "no output has predictions or scores"),
    ("auc", {"label": Y2}, Y2, "no output has scores"),
    ("auc", {"s": P3}, Y2, "auc is nan"),
    ("auc", {"s": S2}, np.zeros(60, int), "auc is nan"),
    ("auc", {"s": np.full(60, np.nan, np.float32)}, Y2, "auc has no value: Input contains NaN"),
    ("top-3", {"s": S3}, Y3, "top-3 of 3 classes is always right"),
    ("mse", {"label": WORDS[Y3]}, YR, "no output has numbers of the labels' shape"),
    ("mse", {"y": PR + np.inf}, YR, "mse has no value"),
]


@pytest.mark.parametrize(("metric", "outputs", "labels", "words"), REFUSED)
def test_outputs_that_fit_no_metric_are_refused(metric: str, outputs: Arrays, labels: Any, words: str) -> None:
    with pytest.raises(OnnxpackError) as refused:
        compute_built_in(metric, outputs, labels)
    assert words in str(refused.value)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SourceError, match=r"pip install 'onnxpack\[evaluation\]'"):
        compute_built_in("accuracy", {"s": S3}, Y3)


# How much worse


@pytest.mark.parametrize(
    ("metric", "source", "model", "expected"),
    [
        ("accuracy", 0.99, 0.98, 0.01),
        ("r2", 0.5, 0.75, -0.25),
        ("mse", 2.0, 3.0, 0.5),
        ("mae", 2.0, 1.0, -0.5),
        ("mse", 0.0, 0.25, 0.25),
        ("m.py:profit", 200.0, 150.0, 0.25),
        ("m.py:profit", -200.0, -250.0, 0.25),
        ("m.py:profit", 0.0, -2.0, 2.0),
    ],
)
def test_a_loss_is_absolute_for_scores_and_relative_for_errors(
    metric: str, source: float, model: float, expected: float
) -> None:
    assert compute_degradation(metric, source, model) == pytest.approx(expected)


@given(
    st.sampled_from(["accuracy", "f1", "auc", "mse", "mae", "r2", "top-k", "m.py:f"]),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_a_better_model_has_no_loss_and_a_worse_one_has(metric: str, source: float, model: float) -> None:
    better = model < source if metric in ("mse", "mae") else model > source
    loss = compute_degradation(metric, source, model)
    assert loss <= 0 if better or model == source else loss >= 0
    assert compute_degradation(metric, source, source) == 0


# The source's, and a model's

Make = Callable[..., SpecFile]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a model that gives back its input [n, 3] as scores, and data for it with labels."""

    def written(**evaluation: Any) -> SpecFile:
        nodes = [
            helper.make_node("Identity", ["x"], ["scores"]),
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        ]
        outputs = [("scores", 1, ["n", 3]), ("total", 1, [])]
        model = make_model(nodes, [("x", 1, ["n", 3])], outputs)
        onnx.save(model, tmp_path / "m.onnx")
        np.savez(tmp_path / "v.npz", x=S3, y=Y3, text=WORDS[Y3])
        fields = {"data": "v.npz", "labels": "y"} | evaluation
        return write_spec(
            tmp_path,
            {"framework": "onnx", "path": "m.onnx"},
            inputs={"x": {"dtype": "float32", "shape": ["n", 3]}},
            evaluation={name: value for name, value in fields.items() if value is not None},
        )

    return written


def user_metric(folder: Path, body: str) -> str:
    name = f"metric{abs(hash(str(folder)))}.py"  # a module of one name is imported once
    (folder / name).write_text(f"import numpy as np\ndef score(outputs, labels):\n    {body}\n")
    return f"{name}:score"


def test_the_source_and_a_model_are_scored_on_the_same_data(make: Make, tmp_path: Path) -> None:
    file = make(metric="accuracy")
    made = export_here(file, tmp_path / "made")
    expected = metrics.accuracy_score(Y3, S3.argmax(1))
    source = score_source(file, made.folder / EVALUATION)
    assert source == Score(pytest.approx(expected), 60)
    assert score_model(file, made.model.path) == source
    worse = make_model([helper.make_node("Neg", ["x"], ["scores"])], [("x", 1, ["n", 3])], [("scores", 1, ["n", 3])])
    onnx.save(worse, tmp_path / "worse.onnx")
    found = score_model(file, tmp_path / "worse.onnx")
    assert found.value == pytest.approx(metrics.accuracy_score(Y3, S3.argmin(1)))
    assert compute_degradation("accuracy", source.value, found.value) > 0.5


def test_a_score_of_words_takes_the_classes_of_the_spec(make: Make, tmp_path: Path) -> None:
    file = make(metric="accuracy", labels="text", classes=list(WORDS))
    assert score_model(file, tmp_path / "m.onnx").value == pytest.approx(RIGHT3)
    with pytest.raises(SpecError, match="the labels are 'cat', 'dog', 'owl'"):
        score_model(make(metric="accuracy", labels="text"), tmp_path / "m.onnx")


def test_the_users_metric_gets_all_outputs_and_labels(make: Make, tmp_path: Path) -> None:
    body = "return (outputs['scores'].shape == (60, 3)) + labels.sum()"
    file = make(metric=user_metric(tmp_path, body))
    made = export_here(file, tmp_path / "made")
    assert score_source(file, made.folder / EVALUATION).value == 1 + Y3.sum()
    assert score_model(file, made.model.path).value == 1 + Y3.sum()


def test_a_score_depends_on_the_users_file(make: Make, tmp_path: Path) -> None:
    def key(metric: str) -> str:
        return digest_value(ScoreSource(SpecPart.of(make(metric=metric), "evaluation"), Artifact(tmp_path, "outputs")))

    code = user_metric(tmp_path, "return 0")
    keys = [key(code), key("f1"), key("package.module:score")]
    user_metric(tmp_path, "return 1")
    assert len({*keys, key(code)}) == 4
    assert [key("f1"), key("package.module:score")] == keys[1:]


def test_the_users_metric_may_do_without_labels(make: Make, tmp_path: Path) -> None:
    file = make(metric=user_metric(tmp_path, "return -1.0 if labels is None else 1.0"), labels=None)
    made = export_here(file, tmp_path / "made")
    assert score_source(file, made.folder / EVALUATION).value == -1
    assert score_model(file, made.model.path).value == -1


@pytest.mark.parametrize(
    ("body", "words", "kind"),
    [
        ("return 1 / 0", "raised ZeroDivisionError", SourceError),
        ("return 'high'", "returned a str (return one number)", GateError),
        ("return np.zeros(3)", "returned a ndarray", GateError),
        ("return None", "returned a NoneType", GateError),
        ("return float('nan')", "is nan", GateError),
        ("return 10 ** 400", "is inf", GateError),
        ("return 1e400", "is inf", GateError),
    ],
)
def test_a_users_metric_that_gives_no_number_is_told(
    make: Make, tmp_path: Path, body: str, words: str, kind: type[Exception]
) -> None:
    file = make(metric=user_metric(tmp_path, body))
    with pytest.raises(kind) as refused:
        score_model(file, tmp_path / "m.onnx")
    assert words.split(",")[0] in str(refused.value)


def test_the_labels_must_be_in_the_data(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no array named 'z' \(it has: x, y, text\)"):
        export_here(make(labels="z"), tmp_path / "made")


def test_a_model_that_fails_on_the_data_is_told(make: Make, tmp_path: Path) -> None:
    file = make()
    fixed = make_model([helper.make_node("Identity", ["x"], ["s"])], [("x", 1, [7, 3])], [("s", 1, [7, 3])])
    onnx.save(fixed, tmp_path / "fixed.onnx")
    with pytest.raises(GateError, match="the model does not run on the evaluation data"):
        score_model(file, tmp_path / "fixed.onnx")


def test_outputs_without_rows_cannot_be_scored(make: Make, tmp_path: Path) -> None:
    file = make()
    total = make_model([helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0)], [("x", 1, ["n", 3])], [("t", 1, [])])
    onnx.save(total, tmp_path / "total.onnx")
    with pytest.raises(SpecError, match="no output has as many rows as the data"):
        score_model(file, tmp_path / "total.onnx")
