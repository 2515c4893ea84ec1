"""What the rules on pictures' steps say, each broken once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxpack.core.errors import SpecError
from onnxpack.spec.load import load

DECODE = {"op": "decode"}
RESIZE = {"op": "resize", "size": [8, 8]}
LAYOUT = {"op": "layout", "layout": "NHWC"}
CAST = {"op": "cast", "dtype": "uint8"}
GREY = {"op": "grayscale"}
WEIGHED = {"op": "grayscale", "weights": [0.299, 0.587, 0.114]}
LAST = ["batch", 8, 8, 3]


def find_problems(folder: Path, steps: list[dict[str, Any]], shape: list[Any], dtype: str = "float32") -> list[str]:
    spec = {
        "onnxpack": 1,
        "name": "a",
        "model": {"framework": "onnx", "path": "m.onnx"},
        "inputs": {"image": {"dtype": dtype, "shape": shape}},
        "dynamic_axes": {name: [1, 100] for name in shape if isinstance(name, str)},
        "opset": 8,
        "preprocess": [{**step, "input": "image"} for step in steps],
    }
    (folder / "m.onnx").touch()
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    try:
        load(path)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


GOOD = [
    ([DECODE, RESIZE, LAYOUT], ["batch", 3, 8, 8], "float32"),
    ([DECODE, RESIZE, CAST, LAYOUT], ["batch", 3, 8, 8], "float32"),
    ([DECODE, {"op": "orient"}, RESIZE], LAST, "uint8"),
    ([DECODE, {"op": "resize", "size": [9]}, {"op": "crop", "size": [8, 8]}, {"op": "swap"}], LAST, "uint8"),
    ([DECODE], ["batch", "height", "width", 3], "uint8"),
    ([DECODE, WEIGHED, RESIZE], ["batch", 8, 8, 1], "float32"),
    ([DECODE, WEIGHED, RESIZE, {**CAST, "dtype": "float32"}], ["batch", 8, 8, 1], "float16"),
    ([DECODE, GREY, {**RESIZE, "fit": "contain", "pad": [7], "method": "area"}], [1, 8, 8, 1], "uint8"),
    ([{**DECODE, "formats": ["webp"]}, RESIZE], [1, 8, 8, 3], "uint8"),
    ([DECODE, RESIZE], ["batch", "height", "width", 3], "uint8"),
]  # fmt: skip
BAD = [
    ([DECODE, RESIZE], ["batch", 3, 8, 8], "float32", "add `{op: layout, input: image, layout: NHWC}` behind"),
    ([DECODE, LAYOUT], ["batch", 3, 8, 8], "float32", "add `{op: resize, input: image, size: [8, 8]}` to"),
    ([DECODE, {"op": "resize", "size": [8]}], LAST, "uint8", "add `{op: crop, input: image, size: [8, 8]}` behind it"),
    ([DECODE, {"op": "resize", "size": [8, 9]}], LAST, "uint8", "give 8 x 9 pixels, and the ONNX file takes 8 x 8"),
    ([DECODE, {"op": "crop", "size": [200, 8]}], [1, "high", 8, 3], "uint8", "takes high x 8"),
    ([DECODE, RESIZE], ["batch", 8, 8, 1], "uint8", "add `{op: grayscale, input: image}` to the picture steps"),
    ([DECODE, GREY, RESIZE], LAST, "uint8", "remove the grayscale step: the model takes three channels"),
    ([DECODE, RESIZE], ["batch", 8, 8, 4], "uint8", "give the model's input 3 channels"),
    ([DECODE, RESIZE], ["batch", 8, 8], "uint8", "a tensor of 4 dimensions follows, and this one is [batch, 8, 8]"),
    ([DECODE, RESIZE], LAST, "int64", "add `{op: cast, input: image, dtype: uint8}` behind the picture steps"),
    ([DECODE, WEIGHED, RESIZE], ["batch", 8, 8, 1], "float16", "add `{op: cast, input: image, dtype: float32}`"),
    ([DECODE, WEIGHED, RESIZE], ["batch", 8, 8, 1], "uint8", "numbers that are not whole, and the ONNX"),
    ([DECODE, RESIZE, {"op": "orient"}], LAST, "uint8", "orient must come right behind decode"),
    ([DECODE, {"op": "swap"}, GREY, RESIZE], [1, 8, 8, 1], "uint8", "swap in front of grayscale changes nothing"),
    ([DECODE, GREY, {"op": "swap"}, RESIZE], [1, 8, 8, 1], "uint8", "swap changes nothing: the picture is grey"),
    ([DECODE, GREY, GREY, RESIZE], [1, 8, 8, 1], "uint8", "grayscale changes nothing: the picture is grey already"),
    ([DECODE, {**WEIGHED, "weights": [1]}, RESIZE], [1, 8, 8, 1], "float32", "weights has 1 value (give one each"),
    ([DECODE, {**WEIGHED, "like": "opencv"}, RESIZE], [1, 8, 8, 1], "float32", "like does not apply where weights"),
    ([DECODE, {**RESIZE, "like": "torchvision", "method": "area"}], LAST, "uint8", "torchvision has no area"),
    ([DECODE, {**RESIZE, "pad": [1]}], LAST, "uint8", "pad applies to `fit: contain` alone"),
    ([DECODE, {**RESIZE, "fit": "contain", "pad": [1, 2]}], LAST, "uint8", "pad has 2 values, and the picture 3"),
    ([DECODE, {"op": "resize", "size": [8], "fit": "cover"}, {"op": "crop", "size": [8, 8]}], LAST, "uint8", "fit n"),
    ([DECODE, {"op": "resize", "size": [8, 8, 8]}, {"op": "crop", "size": [8, 8]}], LAST, "uint8", "one number or two"),
    ([DECODE, {"op": "crop", "size": [8]}, RESIZE], LAST, "uint8", "size of crop must be two numbers"),
    ([DECODE, {"op": "crop", "size": [8, 8], "like": "pillow"}], LAST, "uint8", "crop is not known like pillow"),
    ([DECODE, RESIZE | {"like": "transformers"}], LAST, "uint8", "resize is not known like transformers"),
    ([{**DECODE, "formats": []}, RESIZE], LAST, "uint8", "formats is empty"),
    ([{**DECODE, "formats": ["png", "png"]}, RESIZE], LAST, "uint8", "formats names one twice"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "shape", "dtype"), GOOD)
def test_good_steps_have_no_problem(tmp_path: Path, steps: list[dict[str, Any]], shape: list[Any], dtype: str) -> None:
    assert find_problems(tmp_path, steps, shape, dtype) == []


@pytest.mark.parametrize(("steps", "shape", "dtype", "message"), BAD)
def test_each_mistake_has_one_problem(
    tmp_path: Path, steps: list[dict[str, Any]], shape: list[Any], dtype: str, message: str
) -> None:
    (problem,) = find_problems(tmp_path, steps, shape, dtype)
    assert message in problem
    assert ":" in problem.partition("image")[0]  # file, line and column


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    steps = [DECODE, {"op": "resize", "size": [9], "pad": [1]}, {"op": "orient"}]
    problems = find_problems(tmp_path, steps, ["batch", 3, 8, 8])
    words = ("pad applies", "orient must", "op: layout", "op: crop")
    assert all(word in problem for problem, word in zip(problems, words, strict=True))


def test_decode_behind_another_step_is_told_to_come_first(tmp_path: Path) -> None:
    found = find_problems(tmp_path, [LAYOUT, DECODE, {"op": "orient"}], ["batch", 3, 8, 8])
    assert any("decode is not the first step of its input" in words for words in found)
    assert any("orient turns a picture that was just decoded" in words for words in found)
