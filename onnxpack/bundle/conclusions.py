"""What the generated module makes of the ONNX file's outputs, as its templates show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxpack.core.values import TensorInfo
from onnxpack.spec.conclusions import MOST_TOKENS, Conclusion

Label = tuple[str, bool, bool]
"""What a class of tokens says, whether an entity begins with such a token, and whether it ends with it."""


@dataclass(frozen=True)
class ConclusionView:
    """A step that makes the client's output ``given``, JSON in a string for each row, of the ONNX file's ``taken``."""

    kind: Literal["entities", "answer"]
    taken: tuple[TensorInfo, ...]
    given: tuple[TensorInfo, ...]
    tokens: str
    """The name of the input whose tokens the scores are of."""
    text: str
    """The name of the input that places in the answer are counted in."""
    labels: tuple[Label, ...] = ()
    by_word: bool = False
    """Whether a word has the label of its first token."""
    most: int = MOST_TOKENS

    @classmethod
    def of(cls, conclusion: Conclusion, computed: Sequence[TensorInfo], labels: Sequence[str]) -> "ConclusionView":
        """Return the view of a conclusion, by the ONNX file's outputs and the lines of the file of labels."""
        step = conclusion.step
        infos = {info.name: info for info in computed}
        taken = tuple(infos[name] for name in conclusion.taken)
        return cls(
            kind=step.kind or "entities",
            taken=taken,
            given=(TensorInfo(conclusion.given, "string", taken[0].shape[:1]),),
            tokens=conclusion.tokens,
            text=conclusion.text,
            labels=read_tags(labels),
            by_word=step.aggregation == "first",
            most=step.max_answer or MOST_TOKENS,
        )

    @property
    def name(self) -> str:
        """Return the name of the output."""
        return self.given[0].name


def read_tags(labels: Sequence[str]) -> tuple[Label, ...]:
    """Read labels by the schemes BIO and BIOES, or plain ones; that of no entity has an empty word.

    E- and S- are taken for parts of a scheme only where B- stands before the same word somewhere, since E-MAIL may be
    a plain label.
    """
    known = set(labels)
    found: list[Label] = []
    for label in labels:
        prefix, _, tag = label.partition("-")
        begun = f"B-{tag}" in known
        if label == "O":
            found.append(("", False, False))
        elif tag and (prefix in ("B", "I") or (begun and prefix in ("E", "S"))):
            found.append((tag, prefix in ("B", "S"), prefix in ("E", "S")))
        else:
            found.append((label, False, False))
    return tuple(found)
