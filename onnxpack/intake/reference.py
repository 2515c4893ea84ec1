"""What the training libraries make of a client's pictures and texts: the tensors that the ONNX file takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.intakes import Intake
from onnxpack.spec.load import SpecFile

Make = Callable[[Sequence[Sequence[Any]]], Arrays]
"""Makes the tensors that an intake gives of what it takes: the rows of each input."""


def make_reference(file: SpecFile, intake: Intake) -> Make:
    """Return what makes an intake's tensors by the libraries themselves.

    Raises:
        SourceError: they are not installed.
    """
    return _make_pictures(intake) if intake.kind == "picture" else _make_texts(file, intake)


def _make_pictures(intake: Intake) -> Make:
    import io

    from PIL import Image

    size = next((step.size for step in intake.steps if step.op == "resize" and step.size), None)

    def make(taken: Sequence[Sequence[Any]]) -> Arrays:
        pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in taken[0]]
        if size:
            pictures = [one.resize((size[1], size[0]), Image.Resampling.BILINEAR) for one in pictures]
        return {intake.name: np.stack([np.asarray(one) for one in pictures]).astype(intake.given[0].dtype)}

    return make


def _make_texts(file: SpecFile, intake: Intake) -> Make:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        message = "the steps of a text are compared with tokenizers, which cannot be imported"
        raise SourceError(message, "run `pip install 'onnxpack[texts]'`") from error
    step = intake.steps[0]
    assert step.tokenizer
    tokenizer = Tokenizer.from_file(str(file.resolve(step.tokenizer)))
    if step.max_length:
        tokenizer.enable_truncation(step.max_length)
    tokenizer.enable_padding()

    def make(taken: Sequence[Sequence[Any]]) -> Arrays:
        found = tokenizer.encode_batch(list(taken[0]) if len(taken) == 1 else list(zip(*taken, strict=True)))
        rows = [(one.ids, one.attention_mask, one.type_ids) for one in found]
        parts = zip(intake.given, zip(*rows, strict=True), strict=False)
        return {info.name: np.array(part, info.dtype) for info, part in parts}

    return make
