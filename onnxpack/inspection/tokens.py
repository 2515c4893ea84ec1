"""What a folder that transformers saved tells of its tokenizer, and of the most tokens that its model takes."""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from onnxpack.core.errors import SourceError, describe_error
from onnxpack.core.regular import is_regular
from onnxpack.inspection.draft import Draft
from onnxpack.sources.transformers.folder import read_json
from onnxpack.sources.transformers.library import transformers
from onnxpack.spec.intakes import TOKEN_FIELDS

_IDS, _TYPES = TOKEN_FIELDS["ids"], TOKEN_FIELDS["types"]
TOKENIZER = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_MOST_TOKENS = 512
"""The longest text of a draft: every build runs the model at the largest size of every axis."""
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")
_FILES = (
    TOKENIZER,
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
)
_PROBES = (
    "The cat sat on 2 mats, didn't it?", "  ÀÉÎ  straße\tnew\nline ", "日本語 and русский", "emoji 🙂🏽, e-mail@x.org",
    "", "UPPER lower <s> [MASK] </s>", "a" * 60,
)  # fmt: skip
"""Texts whose tokens tell whether two tokenizers are the same, as far as it goes."""


def find_longest(
    model: torch.nn.Module, folder: Path, config: Mapping[str, Any], names: Sequence[str]
) -> tuple[int, str]:
    """Return the most tokens of a text that a model takes, and what a draft says of it.

    Some models count positions from 2 on (RoBERTa, MPNet), so the number is tried on the model itself.

    Raises:
        SourceError: the model takes no such text.
    """
    positions = [int(value) for key in _POSITIONS if isinstance(value := config.get(key), int) and value > 0]
    limit = min([*positions, *_read_limits(folder)], default=_MOST_TOKENS)
    longest = min(limit, _MOST_TOKENS)
    padding = config.get("pad_token_id")
    error: str | None = None
    for count in (longest, longest - 1 - (padding if isinstance(padding, int) else 1)):
        error = _try(model, names, count) if count > 0 else error
        if error is None:
            more = f"; the model takes {limit}, if you raise `max`" if limit > longest else ""
            return count, f"the most tokens of one text; longer ones are cut off{more}"
    raise SourceError(
        f"the model fails on one text of {longest} tokens: {error}", "check config.json's max_position_embeddings"
    )


def _read_limits(folder: Path) -> list[int]:
    """Return the limits that the settings of the tokenizer and of sentence-transformers name."""
    found = []
    for file, key in ((_SETTINGS, "model_max_length"), ("sentence_bert_config.json", "max_seq_length")):
        fields = read_json(folder / file) if is_regular(folder / file) else {}
        value = fields.get(key) if isinstance(fields, dict) else None
        if isinstance(value, int | float) and 0 < value < 1e6:
            found.append(int(value))
    return found


def _try(model: torch.nn.Module, names: Sequence[str], count: int) -> str | None:
    """Run a model on one text of so many tokens; return why it fails."""
    # Any token but that of padding, from which some models count no position.
    ones = {_IDS: torch.full((1, count), 4), _TYPES: torch.zeros((1, count), dtype=torch.int64)}
    try:
        with torch.no_grad():
            model(*(ones.get(name, torch.ones((1, count), dtype=torch.int64)) for name in names))
    except Exception as error:  # an index out of range, of many kinds
        return describe_error(error, 300)
    return None


def draft_tokenizer(grown: Draft, folder: Path) -> dict[str, Any] | None:
    """Return the step that makes tokens, without its input; None where the folder has no tokenizer.

    The folder's tokenizer.json is used as it is, if transformers makes the same tokens by it. If not, or if there is
    none, what transformers makes of the folder goes into a file beside the spec.

    Raises:
        SourceError: the folder's tokenizer cannot be read.
    """
    if not any(is_regular(folder / name) for name in _FILES):
        text = "check: the folder has no tokenizer, so a client sends tokens; a `tokenize` step makes them of strings"
        grown.note("inputs", text=text)
        return None
    try:
        whole = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # files of another version, packages that miss: anything
        raise SourceError(
            f"transformers cannot read the tokenizer of '{folder.name}': {describe_error(error, 500)}",
            f"save it again as {TOKENIZER}: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`",
        ) from None
    backend = getattr(whole, "backend_tokenizer", None)
    if backend is None:
        raise SourceError(
            f"the tokenizer of '{folder.name}' ({type(whole).__name__}) cannot be written as {TOKENIZER}",
            "use one that has a fast version",
        )
    step: dict[str, Any] = {"op": "tokenize", "input": ""}
    if _is_same(folder / TOKENIZER, whole):
        step["tokenizer"] = posixpath.normpath(posixpath.join(grown.fields["model"]["path"], TOKENIZER))
    else:
        own = f"{grown.fields['name']}.{TOKENIZER}"
        step["tokenizer"] = own
        grown.files[own] = backend.to_str(pretty=False)
        grown.note("preprocess", text=f"{own} was made by transformers from the folder's tokenizer")
    if getattr(whole, "truncation_side", "right") == "left":
        step["truncation"] = "left"
    return step


def _is_same(place: Path, whole: Any) -> bool:
    """Return whether a tokenizer.json makes the same tokens as transformers with all of the folder's settings."""
    from tokenizers import Tokenizer

    if not is_regular(place):
        return False
    try:
        plain = Tokenizer.from_file(str(place))
    except Exception:  # of another version
        return False
    plain.no_truncation()
    plain.no_padding()
    return all(plain.encode(text).ids == whole(text)["input_ids"] for text in _PROBES)
