"""Folders as ``save_pretrained`` leaves them, of small models with random weights, made offline."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers import decoders as decoding

from onnxpack.sources.transformers.library import transformers as hf

# Where another test imported it first, it remembers a torchvision that cannot be imported.
getattr(hf.utils.import_utils.is_torchvision_available, "cache_clear", lambda: None)()

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "film", "was", "good", "bad", "not", "very", "a", "sea", "is", "where", "lima", "in", "peru"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
SENTIMENTS = {0: "negative", 1: "neutral", 2: "positive"}


@dataclass(frozen=True)
class Kind:
    """How a family of models is made: the class of its settings and of itself, and the settings that make it small."""

    config: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] | None = None
    """Of pictures: what its preprocessor_config.json says."""
    tokens: str = "wordpiece"


_PICTURES = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2], "do_normalize": True, "do_rescale": True,
             "rescale_factor": 1 / 255, "do_resize": True}  # fmt: skip
_CLASSES = {"id2label": SENTIMENTS, "label2id": {name: index for index, name in SENTIMENTS.items()}}
KINDS: dict[str, Kind] = {
    "bert": Kind("BertConfig", "BertForSequenceClassification", SIZES | {"max_position_embeddings": 40} | _CLASSES),
    "distilbert": Kind(
        "DistilBertConfig", "DistilBertForSequenceClassification",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37, "max_position_embeddings": 40} | _CLASSES,
    ),
    "roberta": Kind(
        "RobertaConfig", "RobertaForTokenClassification",
        SIZES | {"max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1}
        | {"id2label": {0: "O", 1: "B-LOC", 2: "I-LOC"}, "label2id": {"O": 0, "B-LOC": 1, "I-LOC": 2}},
        tokens="bytes",
    ),
    "qa": Kind("BertConfig", "BertForQuestionAnswering", SIZES | {"max_position_embeddings": 40}),
    "mpnet": Kind("MPNetConfig", "MPNetModel", SIZES | {"max_position_embeddings": 42, "pad_token_id": 1}),
    "minilm": Kind("BertConfig", "BertModel", SIZES | {"max_position_embeddings": 40}),
    "deberta": Kind(
        "DebertaV2Config", "DebertaV2ForSequenceClassification",
        SIZES | {"max_position_embeddings": 40, "relative_attention": True, "position_buckets": 8, "type_vocab_size": 0,
                 "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
                 "position_biased_input": False} | _CLASSES,
    ),
    "clip": Kind(
        "CLIPTextConfig", "CLIPTextModelWithProjection",
        SIZES | {"max_position_embeddings": 24, "projection_dim": 16, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "vit": Kind(
        "ViTConfig", "ViTForImageClassification", SIZES | {"image_size": 32, "patch_size": 8} | _CLASSES,
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2} | _PICTURES,
    ),
    "convnext": Kind(
        "ConvNextConfig", "ConvNextForImageClassification",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 2, 1], "image_size": 64} | _CLASSES,
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.875,
         "resample": 3} | _PICTURES,
    ),
    "swin": Kind(
        "SwinConfig", "SwinForImageClassification",
        {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 40, "patch_size": 4}
        | _CLASSES,
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 40, "width": 40}, "resample": 3} | _PICTURES,
    ),
}  # fmt: skip


def save_model(name: str, folder: Path, *, tokenizer: bool = True, **settings: Any) -> Path:
    """Save a small model of a family, with its tokenizer or what it does to pictures, into a new folder."""
    kind = KINDS[name]
    folder.mkdir(parents=True)
    changes: dict[str, Any] = dict(settings)
    if kind.processor is None:
        tokens = make_tokenizer(kind.tokens)
        changes.setdefault("vocab_size", tokens.get_vocab_size())
        if tokenizer:
            save_tokenizer(tokens, folder)
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps(kind.processor))
    torch.manual_seed(0)
    model = getattr(hf, kind.model)(getattr(hf, kind.config)(**{**kind.settings, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # as they come, heads answer nearly the same to everything
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def save_sentence_modules(folder: Path, *, mode: str = "mean", normalize: bool = True) -> None:
    """Add what sentence-transformers saves beside a model."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalize
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{word}": word == mode for word in ("cls_token", "mean_tokens", "max_tokens")}
    modes[f"pooling_mode_{mode}_tokens" if mode != "cls" else "pooling_mode_cls_token"] = True
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | modes))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))


def make_tokenizer(kind: str = "wordpiece") -> Tokenizer:
    """Return a tokenizer with the special tokens of BERT, of words or of bytes."""
    made: dict[str, Callable[[], Tokenizer]] = {"wordpiece": _make_wordpiece, "bytes": _make_bytes}
    return made[kind]()


def save_tokenizer(tokens: Tokenizer, folder: Path) -> None:
    """Save a tokenizer as ``save_pretrained`` does."""
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    if tokens.token_to_id("[PAD]") is None:
        names = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokens, model_max_length=1_000_000, **names).save_pretrained(folder)


def _make_wordpiece() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS[:7], *WORDS[8:], ".", ",", "?"]
    tokens = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokens.normalizer = normalizers.BertNormalizer()
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens.decoder = decoding.WordPiece()
    return tokens


def _make_bytes() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE({piece: index for index, piece in enumerate([*special, *alphabet])}, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokens.decoder = decoding.ByteLevel()
    return tokens


def draw_picture(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return a picture of smooth colours with some noise, as uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + channel)) + np.cos(columns / (5 - channel)) for channel in range(3)]
    values = np.stack(waves, axis=-1) * 50 + 128 + rng.normal(0, 10, (height, width, 3))
    return values.clip(0, 255).astype(np.uint8)
