"""What the generated module does to texts, as its templates show it."""

from dataclasses import dataclass

from onnxpack.core.values import TensorInfo
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep


@dataclass(frozen=True)
class TextView:
    """An input of texts that are tokenized, and the tensors that this gives: ids, maybe mask and types."""

    name: str
    pair: str | None
    step: PreprocessStep
    given: tuple[TensorInfo, ...]
    file: str
    """The tokenizer's file, beside the module."""

    @classmethod
    def of(cls, intake: Intake, number: int) -> "TextView":
        """Return the view of an intake of texts, by its number among all intakes."""
        step = intake.steps[0]
        return cls(intake.name, step.pair, step, intake.given, name_tokenizer(number))


def name_tokenizer(number: int) -> str:
    """Return the name of an intake's tokenizer in the image, by the intake's number among all."""
    return f"{number}.tokenizer.json"
