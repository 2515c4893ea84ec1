"""Tasks on the converter's side, in its own environment: onnx2tf makes both files, TensorFlow runs them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.data.test_inputs import Arrays, read_arrays, write_arrays
from onnxpack.worker import Say, Task

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
"""The environment of TensorFlow, which reads it once, at its import: errors only, no rounding of oneDNN, no GPU."""


@dataclass(frozen=True)
class ConvertModel(Task[None]):
    """Make a SavedModel and ``model.tflite`` of an ONNX file; a name in ``shapes`` is an axis that stays free."""

    NAME = "convert"
    model: Path
    place: Path
    shapes: dict[str, tuple[int | str, ...]]

    def run(self, folder: Path, say: Say) -> None:
        """Convert with onnx2tf."""
        os.environ |= _QUIET
        _convert(self.model, self.place, self.shapes)


@dataclass(frozen=True)
class RunConverted(Task[None]):
    """Run what was made in ``place`` on every ``<case>.inputs.npz``; the answers become ``<case>.actual.npz``."""

    NAME = "verify"
    place: Path
    kind: str
    cases: int
    outputs: tuple[str, ...]
    """The names that the answers get."""

    def run(self, folder: Path, say: Say) -> None:
        """Run with TensorFlow."""
        os.environ |= _QUIET
        _answer(self)


def _convert(model: Path, folder: Path, shapes: dict[str, tuple[int | str, ...]]) -> None:
    """Write a SavedModel and ``model.tflite`` into ``folder``; a name in ``shapes`` is an axis that stays free.

    Inputs keep their layout: pictures get a transposition behind them, everything else is taken as it is.

    Raises:
        SourceError: an operator or a shape is more than onnx2tf can.
    """
    import onnx2tf

    pictures = [name for name, shape in shapes.items() if len(shape) in (4, 5)]
    others = [name for name, shape in shapes.items() if len(shape) not in (4, 5)]
    fixed = [
        f"{name}:{','.join(map(str, shape))}"
        for name, shape in shapes.items()
        if shape and not any(isinstance(size, str) for size in shape)
    ]
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(model),
            output_folder_path=str(folder),
            overwrite_input_shape=fixed or None,
            keep_ncw_or_nchw_or_ncdhw_input_names=pictures or None,
            keep_shape_absolutely_input_names=others or None,
            output_signaturedefs=True,
            copy_onnx_input_output_names_to_tflite=True,
            not_use_onnxsim=True,
            verbosity="error",
        )
    except (Exception, SystemExit) as error:  # onnx2tf ends the process where it cannot go on
        words = str(error) if isinstance(error, Exception) else "it gave up"
        raise SourceError(
            f"onnx2tf cannot convert the model: {flatten_words(words, 500)}",
            "fix its axes with --size; some operators cannot be converted at all",
        ) from None
    made = next((path for path in folder.glob("*_float32.tflite")), None)
    if made is None or not (folder / "saved_model.pb").exists():
        raise SourceError(
            "onnx2tf wrote no model", "fix its axes with --size; some operators cannot be converted at all"
        )
    made.rename(folder / "model.tflite")


def _answer(asked: RunConverted) -> None:
    """Run the converted model on every case, and write its answers.

    Raises:
        SourceError: it does not run.
    """
    run = _run_saved_model if asked.kind == "savedmodel" else _run_tflite
    for number in range(asked.cases):
        inputs = read_arrays(asked.place / f"{number}.inputs.npz")
        try:
            found = run(asked.place / "made", inputs)
        except Exception as error:  # TensorFlow's own are of many kinds
            raise SourceError(
                f"the converted model does not run: {flatten_words(error, 500)}",
                "an axis may have become fixed: give its size with --size",
            ) from None
        write_arrays(asked.place / f"{number}.actual.npz", _in_order(found, asked.outputs))


def _run_saved_model(made: Path, inputs: Arrays) -> Arrays:
    import tensorflow as tf

    signature = tf.saved_model.load(str(made)).signatures["serving_default"]
    given = _match_by_name(inputs, list(signature.structured_input_signature[1]))
    return {name: value.numpy() for name, value in signature(**{k: tf.constant(v) for k, v in given.items()}).items()}


def _run_tflite(made: Path, inputs: Arrays) -> Arrays:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(made / "model.tflite"))
    details = interpreter.get_input_details()
    given = _match_by_name(inputs, [detail["name"] for detail in details])
    for detail in details:
        interpreter.resize_tensor_input(detail["index"], given[detail["name"]].shape)
    interpreter.allocate_tensors()
    for detail in details:
        interpreter.set_tensor(detail["index"], given[detail["name"]])
    interpreter.invoke()
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


def _match_by_name(inputs: Arrays, wanted: list[str]) -> Arrays:
    """Match inputs by name; what TensorFlow had to rename is matched by its place among what is left."""
    plain = {_strip_name(name): name for name in inputs}
    found: dict[str, Any] = {name: inputs[plain[_strip_name(name)]] for name in wanted if _strip_name(name) in plain}
    rest = [array for name, array in inputs.items() if _strip_name(name) not in {_strip_name(known) for known in found}]
    missing = [name for name in wanted if name not in found]
    return found | dict(zip(missing, rest, strict=True))


def _in_order(found: Arrays, outputs: Sequence[str]) -> Arrays:
    known = {_strip_name(name): array for name, array in found.items()}
    if all(_strip_name(name) in known for name in outputs):
        return {name: np.asarray(known[_strip_name(name)]) for name in outputs}
    return {name: np.asarray(array) for name, array in zip(outputs, found.values(), strict=True)}


def _strip_name(name: str) -> str:
    """Return a name without the characters that TensorFlow cannot have, and without what it adds."""
    return re.sub(r"[^0-9A-Za-z]", "_", name.removeprefix("serving_default_").split(":")[0])
