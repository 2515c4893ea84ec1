"""Pictures and texts of many kinds, as clients send them; the same ones for the same spec."""

import io
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np

from onnxpack.core.values import TensorInfo
from onnxpack.intake.reference import Make
from onnxpack.spec.intakes import Intake
from onnxpack.spec.model import Spec
from onnxpack.spec.picture_rules import DEFAULT_FORMATS

_SHARES = ((1.0, 1.0), (1.7, 1.3), (0.6, 0.9), (0.8, 2.1), (2.3, 0.7), (0.2, 0.3))
"""The heights and widths of pictures, relative to those that the steps give."""
_LEAST = 8  # pixels
_MOST = 1200
_BLOCKS = 6  # a side of the noise that pictures are made of: what is finer no photograph has
_MODES = {"jpeg": ("RGB", "L"), "png": ("RGB", "RGBA", "P", "L"), "webp": ("RGB",), "bmp": ("RGB",)}
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "ok",
    "",
    "Das Füßchen kostet 12,50 €, „sagt“ er …",
    "Wie heißt das auf 日本語? 你好世界!",
    "Привет,   мир\t\n- как дела?",
    "मैं ठीक हूँ 👩‍👩‍👧 🇩🇪 e\u0301 \u200bx",
    "مرحبا بالعالم שלום",
    "x" * 60,
    "don't_split-this: http://example.com/a?b=c&d=%20 #1 @you\r\n",
    "one two three four five six seven eight nine ten " * 40,
)


def make_samples(seen: Spec, intake: Intake, make: Make, number: int, rows: int) -> list[tuple[Any, ...]]:
    """Return what a client sends for each row of the case ``number``: a file, or one text or two.

    ``make`` is what the training libraries do with it, and ``seen`` the spec of what the ONNX file takes, whose axes
    bound what it may become.
    """
    if intake.kind == "picture":
        files = ((file,) for file in _draw_pictures(seen, intake, number) if make([[file]]))
        return list(islice(files, rows))
    fitting = [sample for sample in _pair_texts(len(intake.taken)) if _fits(seen, make, sample)]
    start = number * len(fitting) // 2
    return list(islice(cycle(fitting), start, start + rows))


def _draw_pictures(seen: Spec, intake: Intake, number: int) -> Iterator[bytes]:
    from PIL import Image

    generator = np.random.default_rng([seen.verify.seed, number])
    formats = intake.steps[0].formats or DEFAULT_FORMATS
    kinds = cycle((form, mode) for mode in ("RGB", "L", "RGBA", "P") for form in formats if mode in _MODES[form])
    for place, (form, mode) in enumerate(islice(kinds, number, None)):
        height, width = _choose_size(seen, intake, number, place)
        noise = generator.integers(0, 256, (_BLOCKS, _BLOCKS, 3), np.uint8)
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
        file = io.BytesIO()
        picture.save(file, form)
        yield file.getvalue()


def _choose_size(seen: Spec, intake: Intake, number: int, place: int) -> tuple[int, int]:
    """Return a picture's height and width: any where it is resized, else those that the ONNX file takes."""
    height, width = _find_sizes(seen, intake.given[0], number)
    if not any(step.op == "resize" for step in intake.steps):
        return height, width
    down, across = _SHARES[(number + place) % len(_SHARES)]
    return _round_size(height * down), _round_size(width * across)


def _round_size(size: float) -> int:
    """Return an odd size: even ones hide what is off by half a pixel."""
    return min(max(int(size) | 1, _LEAST), _MOST)


def _find_sizes(seen: Spec, info: TensorInfo, number: int) -> tuple[int, int]:
    """Return the height and width that the steps give; of axes the usual and the least size in turn."""
    axes = {axis.name: (axis.opt, axis.min) for axis in seen.axes}
    height, width = (axes[size][number % 2] if isinstance(size, str) else size for size in info.shape[1:3])
    return height, width


def _pair_texts(count: int) -> list[tuple[str, ...]]:
    """Return the texts, or pairs of each with a later one."""
    return list(zip(_TEXTS, _TEXTS[3:] + _TEXTS[:3], strict=True)) if count > 1 else [(text,) for text in _TEXTS]


def _fits(seen: Spec, make: Make, sample: tuple[str, ...]) -> bool:
    """Return whether the ONNX file takes as many tokens as the libraries make of a text."""
    made = make([[text] for text in sample])
    if not made:
        return False
    limits = {axis.name: axis for axis in seen.axes}
    tokens = next(iter(made.values())).shape[1]
    axis = limits.get(str(seen.inputs[next(iter(made))].shape[1]))
    return axis is None or axis.min <= tokens <= axis.max
