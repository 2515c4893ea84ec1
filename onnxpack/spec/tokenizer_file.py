"""What a tokenizer.json says: its kind, its ids, its padding, and where a text may be cut before it is tokenized.

The file is Hugging Face's: `tokenizers` writes it, and the generated module reads it with the same library. Here it is
only looked at, so that a spec is checked without that library.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from onnxpack.core.regular import read_regular

KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_LIMIT = 128 * 2**20
"""Bytes; the file of a vocabulary of 256,000 tokens has 34 MB."""
_PADS = ("[PAD]", "<pad>", "<PAD>", "[pad]", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>")
"""Words that models are padded with, the usual ones first; GPT-2 has none, and is padded with the end of a text."""
_LOCAL = (
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Precompiled",
    "Prepend",
    "Strip",
    "StripAccents",
)
"""Normalizers to which a letter, a space and a letter are the same whatever follows."""
_RUNS = {"Regex": " {2,}"}
"""The pattern by which T5 and its like make one space of several."""


class _Token(msgspec.Struct):
    id: int
    content: str


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]
    type: str | None = None
    merges: msgspec.Raw = msgspec.Raw()
    dropout: float | None = None
    unk_id: int | None = None
    continuing_subword_prefix: str | None = None


class _Padding(msgspec.Struct):
    direction: Literal["Left", "Right"] = "Right"
    pad_id: int = 0
    pad_type_id: int = 0


class _Document(msgspec.Struct):
    model: _Model
    added_tokens: list[_Token] = []
    padding: _Padding | None = None
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None


@dataclass(frozen=True)
class TokenizerFile:
    """What is known of a tokenizer without running it."""

    kind: str
    """One of ``KINDS``, the algorithm by which words become tokens."""
    size: int
    """The number of ids: they go from 0 to one less."""
    pad: int
    """The id that fills up shorter texts, and in ``pad_type`` its number of a text."""
    pad_type: int
    side: Literal["left", "right"]
    """The side on which shorter texts are filled up."""
    special: tuple[int, int]
    """How many special tokens are added to a text, and to a pair of texts."""
    cuts: bool
    """Whether the tokens in front of a space between ASCII letters or digits are the same whatever follows."""
    random: bool
    """Whether tokens are left out by chance, as in training."""


def read_tokenizer(path: Path) -> TokenizerFile:
    """Return what a tokenizer's file says.

    Raises:
        OSError: it cannot be read, or has more than 128 MiB.
        ValueError: it is not a tokenizer of a known kind; the message says why.
    """
    resolved = path.resolve()
    status = resolved.stat()
    return _read(resolved, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, _time: int, _size: int) -> TokenizerFile:
    try:
        document = msgspec.json.decode(read_regular(path, _LIMIT), type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    model = document.model
    kind = model.type or _infer_kind(model)
    if kind not in KINDS:
        raise ValueError(f"its model is of type {kind[:50]!r}, known are {', '.join(KINDS)}")
    ids = model.vocab if isinstance(model.vocab, dict) else {token: n for n, (token, _) in enumerate(model.vocab)}
    ids = ids | {token.content: token.id for token in document.added_tokens}
    if not ids or min(ids.values()) < 0:
        raise ValueError("its vocabulary is empty" if not ids else "its vocabulary has negative ids")
    padding = document.padding or _Padding(pad_id=next((ids[word] for word in _PADS if word in ids), 0))
    return TokenizerFile(
        kind,
        size=max(ids.values()) + 1,
        pad=padding.pad_id,
        pad_type=padding.pad_type_id,
        side="left" if padding.direction == "Left" else "right",
        special=(_count_special(document.post_processor, "single"), _count_special(document.post_processor, "pair")),
        cuts=_may_cut(document),
        random=bool(model.dropout),
    )


def _infer_kind(model: _Model) -> str:
    """Return the kind of a model of an old file, which does not name it."""
    if bytes(model.merges):
        return "BPE"
    if isinstance(model.vocab, list):
        return "Unigram"
    return "WordLevel" if model.continuing_subword_prefix is None else "WordPiece"


def _count_special(processor: dict[str, Any] | None, form: Literal["single", "pair"]) -> int:
    """Count the tokens that a post-processor adds; one that cannot be followed adds none."""
    if processor is None:
        return 0
    try:
        if processor["type"] == "Sequence":
            return sum(_count_special(part, form) for part in processor["processors"])
        if processor["type"] == "TemplateProcessing":
            named = [piece["SpecialToken"]["id"] for piece in processor[form] if "SpecialToken" in piece]
            return sum(len(processor["special_tokens"][name]["ids"]) for name in named)
        return {"BertProcessing": (2, 3), "RobertaProcessing": (2, 4)}.get(processor["type"], (0, 0))[form == "pair"]
    except (LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("its post_processor is not understood") from None


def _may_cut(document: _Document) -> bool:
    """Return whether tokens in front of a space between ASCII letters or digits cannot depend on what follows.

    That is so if no added token goes over such a space, no normalizer looks over it, and the text is split there.
    """
    tokens = (token.content for token in document.added_tokens)
    normalizers = _list_parts(document.normalizer, "normalizers")
    first = next(iter(_list_parts(document.pre_tokenizer, "pretokenizers")), {})
    splits = first.get("type") in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
    splits |= first.get("type") == "ByteLevel" and first.get("use_regex") is not False
    splits |= first.get("type") == "Metaspace" and first.get("split") is not False
    return splits and all(map(_is_local, normalizers)) and not any(len(token.split()) > 1 for token in tokens)


def _list_parts(part: dict[str, Any] | None, word: str) -> list[dict[str, Any]]:
    """Return the parts of a sequence of normalizers or pre-tokenizers, at any depth."""
    if part is None:
        return []
    if part.get("type") != "Sequence":
        return [part]
    return [inner for one in part.get(word) or () for inner in _list_parts(one, word)]


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer.get("type") == "Replace":
        return normalizer.get("pattern") == _RUNS
    return normalizer.get("type") in _LOCAL
