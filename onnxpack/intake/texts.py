"""Texts as tokens the way training had them: by `tokenizers` alone, set up as transformers' fast tokenizers set it up.

The generated module cuts and fills up rows itself; here the library does, so that both can be compared.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxpack.core.errors import GateError, Problem, SpecError, flatten_words
from onnxpack.core.values import Axis
from onnxpack.data.test_inputs import Arrays
from onnxpack.intake.figures import TextFigures
from onnxpack.intake.strings import draw_strings
from onnxpack.spec.intakes import Intake, find_row_limits, name_tokens
from onnxpack.spec.tokenizer_file import read_tokenizer

Tokenize = Callable[[str, Sequence[str], Sequence[str] | None], Any]
"""The function of the generated `texts.py`."""

_SOURCES = {"ids": "ids", "mask": "attention_mask", "types": "type_ids"}
_COUNT = 1000
_ROWS = 8
"""Texts of one request, which are filled up to the longest of them."""
_LONGEST_PAIR = 4
"""The characters of a text of a pair, for each token that a row may have."""


class TextReference:
    """The tokenizer of an intake, as it is used in training."""

    def __init__(self, intake: Intake, axes: Sequence[Axis], file: Path) -> None:
        """Load the tokenizer.

        Raises:
            ImportError: the library is not installed.
            SpecError: it cannot read the file.
        """
        from tokenizers import Tokenizer, __version__  # not where no text is tokenized

        (step,) = intake.steps
        self._intake = intake
        self._least, self.most = find_row_limits(intake, axes)
        self._refuses = step.truncation == "refuse"
        known = read_tokenizer(file)
        self._padding: dict[str, Any] = {"direction": known.side, "pad_id": known.pad, "pad_type_id": known.pad_type}
        self.kind, self.version = known.kind, str(__version__)
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # of no class of the library's own
            hint = "give the tokenizer.json that the model was trained with"
            raise SpecError(f"tokenizers cannot read '{step.tokenizer}': {flatten_words(error, 200)}", hint) from None
        self._tokenizer.enable_padding(**self._padding)
        if self._refuses:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(self.most, direction=step.truncation or "right")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Any]:
        """Return what the library says of each row: an ``Encoding``."""
        both: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        rows: list[Any] = self._tokenizer.encode_batch(both)
        for row in rows:
            row.pad(self._least, **self._padding)
        return rows

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Arrays | None:
        """Return the inputs of the ONNX file; None if a text has more tokens than may be, or none."""
        try:
            rows = self.encode(texts, pairs)
        except Exception:  # such as a word that the vocabulary has no token for, not even an unknown one
            return None
        if self._refuses and any(sum(row.attention_mask) > self.most for row in rows):
            return None
        fields = {name: field for field, name in name_tokens(self._intake.steps[0]).items()}
        return {
            info.name: np.array([getattr(row, _SOURCES[fields[info.name]]) for row in rows], info.dtype)
            for info in self._intake.given
        }


def load_tokenize(module: str, tokenizers: Mapping[str, Path]) -> Tokenize:
    """Import the generated `texts.py` beside the files of its tokenizers, and return what it does."""
    with TemporaryDirectory() as folder:
        for name, file in tokenizers.items():
            shutil.copyfile(file, Path(folder, name))
        path = Path(folder, "texts.py")
        path.write_text(module, encoding="utf-8")
        found = spec_from_file_location("onnxpack_generated_texts", path)
        assert found
        assert found.loader
        loaded = sys.modules[found.name] = module_from_spec(found)  # dataclasses look for it there
        try:
            found.loader.exec_module(loaded)
        finally:
            del sys.modules[found.name]
    tokenize: Tokenize = loaded.tokenize
    return tokenize


def compare_texts(intake: Intake, reference: TextReference, tokenize: Tokenize, count: int = _COUNT) -> TextFigures:
    """Compare the generated module's tokens with those of training, for seeded strings of every kind.

    Raises:
        GateError: they differ; the message has the first string of which they do.
    """
    tokens = 0
    for texts, pairs, expected in _make_cases(intake, reference, count):
        try:
            actual = tokenize(intake.name, texts, pairs).arrays
        except ValueError as error:
            if expected is None:
                continue
            raise _make_error(intake, texts, f"it is refused: {error}") from None
        if expected is None:
            raise _make_error(intake, texts, "it is not refused, and has too many tokens, or none that stand for it")
        if difference := _find_difference(expected, actual):
            raise _make_error(intake, texts, difference)
        tokens += sum(array.size for array in expected.values()) // len(expected)
    return TextFigures(intake.name, reference.kind, reference.version, count, tokens)


def _make_cases(
    intake: Intake, reference: TextReference, count: int
) -> Iterator[tuple[list[str], list[str] | None, Arrays | None]]:
    """Yield texts with the inputs of the ONNX file; None only for one that is to be refused, alone."""
    for texts, pairs in _draw_requests(intake, reference.most, count):
        expected = reference.tokenize(texts, pairs)
        if expected is not None:
            yield texts, pairs, expected
            continue
        for number, text in enumerate(texts):
            pair = [pairs[number]] if pairs else None
            yield [text], pair, reference.tokenize([text], pair)


def _draw_requests(intake: Intake, most: int, count: int) -> Iterator[tuple[list[str], list[str] | None]]:
    strings = list(draw_strings(count, 0))
    others = None
    if len(intake.taken) > 1:
        # The library keeps all that it cuts off, of pairs each part with each: long ones would take all memory.
        longest = _LONGEST_PAIR * most
        strings = [text[:longest] for text in strings]
        others = [text[:longest] for text in reversed(list(draw_strings(count, 1)))]
    for start in range(0, count, _ROWS):
        yield strings[start : start + _ROWS], others[start : start + _ROWS] if others else None


def _find_difference(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> str:
    """Return how the inputs of the ONNX file differ; empty if they do not."""
    if list(expected) != list(actual):
        return f"it gives {', '.join(actual)}, not {', '.join(expected)}"
    for name, right in expected.items():
        got = actual[name]
        if (right.dtype, right.shape) != (got.dtype, got.shape):
            return f"'{name}' is {got.dtype} {list(got.shape)}, and {right.dtype} {list(right.shape)} in training"
        if (places := np.argwhere(right != got)).size:
            row, place = places[0]
            return f"'{name}' has {got[row, place]} at [{row}, {place}], and {right[row, place]} in training"
    return ""


def _make_error(intake: Intake, texts: Sequence[str], difference: str) -> GateError:
    hint = "this is a bug of onnxpack, or of tokenizers in another version than that which the image has"
    shown = "\n".join(ascii(text[:200]) for text in texts)
    message = f"the module's tokens of '{intake.name}' are not those of training: {difference}"
    return GateError([Problem(message, hint, detail=f"the texts:\n{shown}")])
