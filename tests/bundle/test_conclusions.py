"""Entities and answers are those that transformers finds, and that a plain form of the same finds."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from bundle_examples import ANSWERS, ENTITIES

from onnxpack.bundle import templates
from onnxpack.bundle.conclusions import ConclusionView, read_tags
from onnxpack.bundle.render import render_module
from onnxpack.core.values import TensorInfo
from onnxpack.intake.conclusions import find_answer, find_entities

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ann", "##a", "##b", "in", "new", "york", "met", "bob", ",", "."]
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = [
    "Anna met Bob in New York .", "ann,bob", "x", "", "annab  ANNAAAB	bob in, in", "Bob Bob Bob New New York",
    "ann [SEP] bob [UNK]",
]  # fmt: skip


class Place(NamedTuple):
    """As the generated texts.py has it."""

    start: int
    end: int
    part: int
    word: int


class Tokens(NamedTuple):
    """As the generated texts.py has it."""

    arrays: dict[str, Any]
    offsets: list[list[Place]]


def list_places(encoding: Any) -> list[Place]:
    found = zip(encoding.offsets, encoding.sequence_ids, encoding.word_ids, strict=True)
    return [Place(*at, -1 if part is None else part, -1 if word is None else word) for at, part, word in found]


@pytest.fixture
def tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return made


def render(*views: ConclusionView) -> ModuleType:
    """Render conclusions.py beside a stand-in of texts.py, and import it."""
    texts = ModuleType("texts")
    texts.Place, texts.Tokens = Place, Tokens  # type: ignore[attr-defined]
    outputs = [*(info for view in views for info in view.taken), *(view.given[0] for view in views)]
    text = templates.render("conclusions.py", view=SimpleNamespace(name="m", conclusions=views, outputs=outputs))
    module = ModuleType("conclusions")
    sys.modules["texts"], sys.modules["conclusions"] = texts, module
    exec(compile(text, "conclusions.py", "exec"), module.__dict__)
    return module


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in ("texts", "conclusions"):
        sys.modules.pop(name, None)


def view_entities(labels: Sequence[str], by_word: bool) -> ConclusionView:
    taken = TensorInfo("logits", "float32", ("batch", "tokens", len(labels)))
    given = TensorInfo("entities", "string", ("batch",))
    return ConclusionView("entities", (taken,), (given,), "text", "text", read_tags(labels), by_word)


def read_rows(found: Any, name: str) -> list[Any]:
    return [json.loads(document) for document in found[name]]


def conclude_entities(labels: Sequence[str], by_word: bool, encodings: Any, logits: Any, texts: Any) -> list[Any]:
    """Find entities by the generated module, and see that the plain form finds the same."""
    module = render(view_entities(labels, by_word))
    tokens = Tokens({}, [list_places(encoding) for encoding in encodings])
    found = module.conclude({"logits": logits}, {"text": texts}, {"text": tokens})
    assert list(found) == ["logits", "entities"]
    rows = read_rows(found, "entities")
    wide = logits.astype(np.float64)
    plain = [find_entities(labels, by_word, *row) for row in zip(texts, encodings, wide, strict=True)]
    assert drop_scores(rows) == drop_scores(plain)
    for one, other in zip(chain(*rows), chain(*plain), strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=2e-6)
    return rows


def drop_scores(rows: list[Any]) -> list[Any]:
    return [[{**found, "score": None} for found in row] for row in rows]


def encode(tokenizer: Any, texts: Sequence[Any]) -> Any:
    tokenizer.enable_padding(pad_id=0)
    return tokenizer.encode_batch(list(texts))


def draw_logits(encodings: Any, classes: int, seed: int) -> Any:
    size = (len(encodings), len(encodings[0].ids), classes)
    return (np.random.default_rng(seed).standard_normal(size) * 2).astype(np.float32)


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize(
    "labels",
    [BIO, ("O", "B-PER", "I-PER", "E-PER", "S-PER"), ("E-MAIL", "O", "PHONE", "S"), ("B-", "I-", "-", "", "B-B-X")],
)
def test_module_and_plain_form_find_the_same_entities(tokenizer: Any, labels: Any, by_word: bool) -> None:
    encodings = encode(tokenizer, TEXTS)
    found = []
    for seed in range(30):
        found += conclude_entities(labels, by_word, encodings, draw_logits(encodings, len(labels), seed), TEXTS)
    assert sum(map(len, found)) > 100


@pytest.mark.parametrize("strategy", ["simple", "first"])
def test_entities_are_those_of_transformers(tokenizer: Any, strategy: str) -> None:
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from transformer_folders import hf as transformers  # beside a torchvision that may not work

    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    names = dict(enumerate(BIO))
    config = transformers.BertConfig(
        vocab_size=len(WORDS), num_labels=5, id2label=names, initializer_range=2.0, **sizes
    )
    model = transformers.BertForTokenClassification(config).eval()
    pipeline = transformers.pipeline(
        "token-classification", model=model, tokenizer=fast, aggregation_strategy=strategy, device="cpu"
    )
    count = 0
    texts = [text for text in TEXTS if text]
    for text in texts:
        encodings = encode(tokenizer, [text])
        with torch.no_grad():
            logits = model(torch.tensor([encodings[0].ids])).logits.numpy()
        (found,) = conclude_entities(BIO, strategy == "first", encodings, logits, [text])
        right = pipeline(text)
        assert [(one["entity"], one["start"], one["end"]) for one in found] == [
            (one["entity_group"], one["start"], one["end"]) for one in right
        ]
        assert [one["score"] for one in found] == pytest.approx([float(one["score"]) for one in right], abs=1e-5)
        count += len(found)
    assert count > 5


ASKED = [("who met bob", TEXTS[0]), ("who", ""), ("", "ann"), ("ann", "Annab met, bobb."), ("", "")]


@pytest.mark.parametrize("most", [1, 3, 30])
@pytest.mark.parametrize("left", [False, True])
def test_module_and_plain_form_find_the_same_answers(tokenizer: Any, most: int, left: bool) -> None:
    tokenizer.enable_padding(pad_id=0, direction="left" if left else "right")
    encodings = tokenizer.encode_batch(ASKED)
    taken = tuple(TensorInfo(name, "float32", ("batch", "tokens")) for name in ("start", "end"))
    given = (TensorInfo("answer", "string", ("batch",)),)
    module = render(ConclusionView("answer", taken, given, "question", "context", most=most))
    contexts = [context for _, context in ASKED]
    for seed in range(30):
        logits = draw_logits(encodings, 2, seed)
        starts, ends = logits[..., 0], logits[..., 1]
        tokens = {"question": Tokens({}, [list_places(encoding) for encoding in encodings])}
        found = module.conclude({"start": starts, "end": ends}, {"context": contexts}, tokens)
        for row, got in enumerate(read_rows(found, "answer")):
            wide = [scores[row].astype(np.float64) for scores in (starts, ends)]
            right = find_answer(most, contexts[row], encodings[row], *wide)
            assert got == right | {"score": pytest.approx(right["score"], abs=2e-6)}
            assert contexts[row][got["start"] : got["end"]] == got["answer"]
            assert bool(got["answer"]) == bool(contexts[row])


def test_scores_that_are_no_numbers_are_null_and_end_nothing(tokenizer: Any) -> None:
    encodings = encode(tokenizer, ["Anna met"])
    logits = np.full((1, 5, 5), np.nan, np.float32)
    logits[..., 1] = 3
    module = render(view_entities(BIO, False))
    tokens = {"text": Tokens({}, [list_places(encodings[0])])}
    (document,) = module.conclude({"logits": logits}, {"text": ["Anna met"]}, tokens)["entities"]
    assert "NaN" not in document
    assert json.loads(document) == []


@pytest.mark.parametrize("name", ["entities", "answers"])
def test_modules_of_conclusions_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    view = {"entities": ENTITIES, "answers": ANSWERS}[name]
    golden(f"{name}/conclusions.py", render_module(view)["conclusions.py"])


def test_tags_are_read_by_the_scheme_that_the_labels_have() -> None:
    assert read_tags(["O", "B-X", "I-X", "E-X", "S-X"]) == (
        ("", False, False), ("X", True, False), ("X", False, False), ("X", False, True), ("X", True, True),
    )  # fmt: skip
    assert read_tags(["E-MAIL", "S", "B-", "NAME"]) == tuple(
        (word, False, False) for word in ("E-MAIL", "S", "B-", "NAME")
    )
