"""What the training libraries make of a client's pictures and texts: the tensors that the ONNX file takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.intake.picture_reference import TooNarrowError, read_reference
from onnxpack.intake.texts import TextReference
from onnxpack.spec.intakes import Intake
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import make_served_spec

Make = Callable[[Sequence[Sequence[Any]]], Arrays | None]
"""Makes the tensors that an intake gives of what it takes, the rows of each input; None if it takes none of these."""


def make_reference(file: SpecFile, intake: Intake) -> Make:
    """Return what makes an intake's tensors by the libraries themselves.

    Raises:
        SourceError: they are not installed.
    """
    return _make_pictures(intake) if intake.kind == "picture" else _make_texts(load_texts(file, intake))


def load_texts(file: SpecFile, intake: Intake) -> TextReference:
    """Return an intake's tokenizer as training uses it.

    Raises:
        SourceError: the library is not installed.
    """
    path = intake.steps[0].tokenizer
    assert path
    try:
        return TextReference(intake, make_served_spec(file.spec).axes, file.resolve(path))
    except ImportError as error:
        message = f"texts are compared with tokens of tokenizers, which cannot be imported: {error}"
        raise SourceError(message, "run `pip install 'onnxpack[texts]'`") from None


def _make_pictures(intake: Intake) -> Make:
    def make(taken: Sequence[Sequence[Any]]) -> Arrays | None:
        try:
            return {intake.name: np.stack([read_reference(intake, file) for file in taken[0]])}
        except TooNarrowError:
            return None

    return make


def _make_texts(reference: TextReference) -> Make:
    def make(taken: Sequence[Sequence[Any]]) -> Arrays | None:
        return reference.tokenize(taken[0], taken[1] if len(taken) > 1 else None)

    return make
