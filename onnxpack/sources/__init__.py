"""Load, run and export source models: one module for each framework, which runs in the export process only."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.load import SpecFile


@dataclass(frozen=True)
class Export:
    """What an exporter tells besides the file that it wrote.

    ``names`` are the outputs' names that the framework itself would use. ``exporter`` says which one wrote the file,
    where the framework has several, and ``notes`` why, in sentences for the user.
    """

    names: tuple[str, ...]
    exporter: str = ""
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """What a framework's module offers: three functions, and a fourth where it takes factories."""

    def load(self, file: SpecFile) -> Any:
        """Return the model, ready to run, in inference mode.

        Raises:
            SourceError: it cannot be made; the problem names the file, class, key or shape.
        """

    def require_weights(self, file: SpecFile) -> None:
        """Make sure that the spec's factory, which has no weights file, gives the same model each time.

        Only frameworks that take `model.factory` have it.

        Raises:
            SourceError: parameters are random, so somebody forgot the weights; the problem names the first of them.
        """

    def run(self, model: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
        """Return the model's outputs for one set of inputs, flattened, in a fixed order."""

    def export(self, model: Any, file: SpecFile, example: Arrays, count: int, destination: Path) -> Export:
        """Write the model as ONNX, with external data beside it if it is large.

        ``example`` holds inputs at sizes that all differ, ``count`` is the number of outputs that ``run`` gives.

        Raises:
            SourceError: the framework cannot express the model in the asked opset.
        """


def load_source(framework: str) -> Source:
    """Return a framework's module.

    Raises:
        SourceError: the framework is not installed.
    """
    try:
        return cast(Source, importlib.import_module(f"onnxpack.sources.{framework}"))
    except ModuleNotFoundError as error:
        raise SourceError(
            f"'{error.name}' is not installed, and {framework} models need it", f"pip install 'onnxpack[{framework}]'"
        ) from None
