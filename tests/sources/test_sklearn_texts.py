"""Estimators that read texts: they load without a locale of the machine's, and their words are Python's words."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from estimators import infos, save
from exporting import Made, export_here
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity

TEXTS = [
    "Free MONEY, claim the prize now",
    "Shall we meet for lunch at noon?",
    "Claim free tickets now: now!",
    "The report is at noon, lunch later",
    "a b see 2 prizes_won today",
    "",
]
SPAM = np.array(["spam", "ham", "spam", "ham", "spam", "ham"])
TEXT = {"dtype": "string", "shape": ["n"], "choices": [text for text in TEXTS if text]}
OUTPUTS = [("label", "string", ("n",)), ("probabilities", "float32", ("n", 2))]
START = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


def made_from(folder: Path, model: Any, texts: list[str] = TEXTS, **fields: Any) -> Made:
    """The export of a model, compared on real texts too."""
    shape = fields.get("inputs", {"text": TEXT})["text"]["shape"]
    array = np.array([text for text in texts if text] or [""])
    np.savez(folder / "s.npz", text=array if len(shape) == 1 else array.reshape(-1, 1))
    fields = {"inputs": {"text": TEXT}, "verify": {"samples": "s.npz"}} | fields
    return export_here(save(folder, model, **fields), folder / "out")


@pytest.mark.parametrize("shape", [["n"], ["n", 1]], ids=["list", "column"])
@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(),
        CountVectorizer(ngram_range=(1, 2)),
        TfidfVectorizer(lowercase=False),
        CountVectorizer(stop_words=["the", "at"]),
        CountVectorizer(binary=True),
        CountVectorizer(token_pattern=r"(?u)\b\w+\b"),
    ],
    ids=["tfidf", "bigrams", "as written", "stop words", "binary", "short words"],
)
def test_texts_become_labels(tmp_path: Path, vectorizer: Any, shape: list[Any]) -> None:
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, SPAM)
    made = made_from(tmp_path, model, inputs={"text": TEXT | {"shape": shape}})
    assert infos(made) == OUTPUTS
    assert made.model.inputs[0].shape == tuple(shape)
    require_parity("texts", made.rows())


def test_no_operator_asks_for_a_locale_of_the_machine(tmp_path: Path) -> None:
    """The operator's default is en_US.UTF-8, and a session of a model that asks for it fails where that is missing."""
    made = made_from(tmp_path, make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(TEXTS, SPAM))
    (normalizer,) = (node for node in made.proto.graph.node if node.op_type == "StringNormalizer")
    assert {item.name: item.s for item in normalizer.attribute if item.name == "locale"} == {"locale": b"C"}
    bare = {"PATH": os.environ["PATH"], "LOCPATH": str(tmp_path), "LC_ALL": "C", "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", START]
    assert subprocess.run([*command, made.model.path], env=bare, capture_output=True, check=False).returncode == 0
    kept = [item for item in normalizer.attribute if item.name != "locale"]
    del normalizer.attribute[:]
    normalizer.attribute.extend(kept)
    onnx.save(made.proto, tmp_path / "default.onnx")
    refused = subprocess.run([*command, tmp_path / "default.onnx"], env=bare, capture_output=True, check=False)
    assert b"locale" in refused.stderr.lower(), "the session must fail without it, or this proves nothing"


def test_words_with_accents_stay_whole(tmp_path: Path) -> None:
    texts = ["café naïve übung", "cafe naive ubung", "привет мир", "日本 東京"]
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, SPAM[:4])
    text = {"text": TEXT | {"choices": texts}}
    made = made_from(tmp_path, model, texts, inputs=text)
    require_parity("accents", made.rows())


def test_two_vectorizers_of_one_text(tmp_path: Path) -> None:
    union = FeatureUnion([("words", CountVectorizer()), ("pairs", TfidfVectorizer(ngram_range=(2, 2)))])
    model = make_pipeline(union, LogisticRegression()).fit(TEXTS, SPAM)
    require_parity("union", made_from(tmp_path, model).rows())


def test_a_text_beside_numbers(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "length": [float(len(text)) for text in TEXTS]})
    parts = [("words", TfidfVectorizer(), "text"), ("number", StandardScaler(), ["length"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(frame, SPAM)
    inputs = {"text": TEXT, "length": {"dtype": "float32", "shape": ["n"], "range": [0, 99]}}
    made = export_here(save(tmp_path, model, inputs=inputs), tmp_path / "out")
    assert infos(made) == OUTPUTS
    require_parity("beside", made.rows())


@pytest.mark.parametrize(
    "vectorizer",
    [HashingVectorizer(n_features=16), CountVectorizer(analyzer="char_wb"), CountVectorizer(tokenizer=str.split)],
    ids=["hashing", "characters", "own tokenizer"],
)
@pytest.mark.filterwarnings("ignore:The parameter 'token_pattern'")
def test_a_vectorizer_without_a_converter_is_named(tmp_path: Path, vectorizer: Any) -> None:
    model = Pipeline([("words", vectorizer), ("clf", LogisticRegression())]).fit(TEXTS, SPAM)
    with pytest.raises(SourceError) as refused:
        made_from(tmp_path, model)
    named = f"skl2onnx cannot convert step 'words': {type(vectorizer).__name__}: "
    assert str(refused.value).startswith(named)
