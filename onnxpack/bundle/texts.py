"""What the generated module does to texts, as its templates show it."""

from dataclasses import dataclass
from typing import Literal

from onnxpack.core.values import Axis, TensorInfo
from onnxpack.spec.intakes import Intake, find_row_limits, name_tokens
from onnxpack.spec.tokenizer_file import TokenizerFile

SOURCES = {"ids": "ids", "mask": "attention_mask", "types": "type_ids"}
"""What `tokenizers` calls the values of the fields of tokenize."""


@dataclass(frozen=True)
class TextPart:
    """An input of the ONNX file, the library's word for what it takes, and the value that fills up shorter rows."""

    source: str
    info: TensorInfo
    pad: int


@dataclass(frozen=True)
class TextView:
    """An input of texts that become tokens.

    A row has ``least`` to ``most`` tokens.
    """

    name: str
    pair: str | None
    file: str
    """The tokenizer's file, beside the module."""
    parts: tuple[TextPart, ...]
    least: int
    most: int
    truncation: Literal["right", "left", "refuse"]
    tokenizer: TokenizerFile

    @classmethod
    def of(cls, intake: Intake, number: int, axes: tuple[Axis, ...], tokenizer: TokenizerFile) -> "TextView":
        """Return the view of an intake of texts, by its number among all intakes."""
        (step,) = intake.steps
        fields = {name: field for field, name in name_tokens(step).items()}
        given = [(info, fields[info.name]) for info in intake.given]
        pads = {"ids": tokenizer.pad, "mask": 0, "types": tokenizer.pad_type}
        least, most = find_row_limits(intake, axes)
        return cls(
            name=intake.name,
            pair=step.pair,
            file=name_tokenizer(number),
            parts=tuple(TextPart(SOURCES[field], info, pads[field]) for info, field in given),
            least=least,
            most=most,
            truncation=step.truncation or "right",
            tokenizer=tokenizer,
        )

    @property
    def cuts(self) -> bool:
        """Return whether the beginning of a long text may stand for it: what is cut off would be no token that is kept.

        Not of pairs, since how many tokens each keeps depends on both.
        """
        return self.tokenizer.cuts and self.truncation != "left" and self.pair is None


def name_tokenizer(number: int) -> str:
    """Return the name of an intake's tokenizer in the image, by the intake's number among all."""
    return f"{number}.tokenizer.json"
