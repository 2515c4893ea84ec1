"""What the generated module does to pictures, as its templates show it."""

from dataclasses import dataclass

from onnxpack.core.values import Shape
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep

_FORMATS = ("jpeg", "png")


@dataclass(frozen=True)
class PictureView:
    """An input of pictures: its name, the steps on each, and the ``shape`` and ``dtype`` of what the steps give."""

    name: str
    steps: tuple[PreprocessStep, ...]
    shape: Shape
    dtype: str

    @classmethod
    def of(cls, intake: Intake) -> "PictureView":
        """Return the view of an intake of pictures."""
        return cls(intake.name, intake.steps, intake.given[0].shape, intake.given[0].dtype)

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the formats that are taken."""
        return self.steps[0].formats or _FORMATS

    @property
    def size(self) -> tuple[int, ...]:
        """Return the height and width to resize to; empty where pictures keep theirs."""
        return next((step.size for step in self.steps if step.op == "resize" and step.size), ())
