"""What of ``preprocess`` the module does, and what a client sends."""

from pathlib import Path
from typing import Any

from exporting import write_spec
from tokenizing import write_tokenizer

from onnxpack.core.values import TensorInfo
from onnxpack.spec.intakes import drop_module_steps, list_client_axes, list_client_inputs, list_intakes
from onnxpack.spec.model import Spec
from onnxpack.spec.module_steps import list_module_steps

TOKENS = {"dtype": "int64", "shape": ["batch", "seq"]}
AXES = {"batch": {"min": 1, "max": 4}, "seq": {"min": 1, "max": 16}}


def write(folder: Path, inputs: dict[str, Any], preprocess: list[dict[str, Any]], axes: str = "batch") -> Spec:
    """Return a spec of an ONNX model with these inputs and steps."""
    (folder / "m.onnx").touch()
    write_tokenizer(folder)
    found = {name: AXES[name] for name in axes.split()}
    fields = {"inputs": inputs, "dynamic_axes": found, "opset": 18, "preprocess": preprocess}
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields).spec


def test_a_pictures_steps_are_the_modules_up_to_the_first_other_one(tmp_path: Path) -> None:
    inputs = {"image": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}}
    steps = [
        {"op": "decode", "input": "image"},
        {"op": "resize", "input": "image", "size": [8, 8]},
        {"op": "cast", "input": "image", "dtype": "uint8"},
        {"op": "layout", "input": "image", "layout": "NHWC"},
    ]
    spec = write(tmp_path, inputs, steps)
    assert list_module_steps(spec) == (0, 1)
    (intake,) = list_intakes(spec)
    assert intake.kind == "picture"
    assert intake.taken == (TensorInfo("image", "bytes", ("batch",)),)
    assert intake.given == (TensorInfo("image", "uint8", ("batch", 8, 8, 3)),)
    assert list_client_inputs(spec) == intake.taken
    assert [step.op for step in drop_module_steps(spec).preprocess] == ["cast", "layout"]


def test_without_decode_a_resize_is_the_files(tmp_path: Path) -> None:
    inputs = {"image": {"dtype": "float32", "shape": ["batch", 3, 8, 8]}}
    spec = write(tmp_path, inputs, [{"op": "resize", "input": "image", "size": [8, 8]}])
    assert list_module_steps(spec) == ()
    assert list_intakes(spec) == ()
    assert list_client_inputs(spec)[0].shape == ("batch", 3, "image_height", "image_width")


def test_texts_take_the_place_of_the_tokens(tmp_path: Path) -> None:
    inputs = {"input_ids": TOKENS, "attention_mask": TOKENS, "more": {"dtype": "float32", "shape": ["batch", 2]}}
    steps = [{"op": "tokenize", "input": "text", "pair": "context", "tokenizer": "tokenizer.json"}]
    spec = write(tmp_path, inputs, steps, "batch seq")
    (intake,) = list_intakes(spec)
    assert intake.kind == "text"
    assert [info.name for info in intake.given] == ["input_ids", "attention_mask"]
    assert [(info.name, info.dtype) for info in list_client_inputs(spec)] == [
        ("text", "string"),
        ("context", "string"),
        ("more", "float32"),
    ]
    assert [axis.name for axis in list_client_axes(spec)] == ["batch"]
