"""Source frameworks: one module each, that meets ``Source``. They run in the export process only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxpack.samples import Arrays
from onnxpack.spec.load import SpecFile

FRAMEWORKS = ("torch", "sklearn", "onnx", "xgboost", "lightgbm", "catboost", "keras")


class Source(Protocol):
    """What a framework's module offers: three functions."""

    def load(self, file: SpecFile) -> Any:
        """The model, ready to run, in inference mode.

        Raises:
            SourceError: it cannot be made; the problem names the file, class, key or shape.
        """

    def run(self, model: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
        """The model's outputs for one set of inputs, flattened, in a fixed order."""

    def export(self, model: Any, file: SpecFile, example: Arrays, count: int, destination: Path) -> Sequence[str]:
        """Writes the model as ONNX, with external data beside it if it is large.

        ``example`` holds inputs at sizes that all differ, ``count`` is the number of outputs that ``run`` gives.
        Returns the names of the outputs that the framework itself would use.

        Raises:
            SourceError: the framework cannot express the model in the asked opset.
        """
