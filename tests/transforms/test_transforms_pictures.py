"""Picture steps of the ONNX file: their nodes equal their numpy form, and both the library that the step names."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from echo_models import AXES, FLOATS, Make, run_and_compare, run_both
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.arrays import apply_preprocess
from onnxpack.transforms.graphs import add_steps

NHWC = {"op": "layout", "input": "x", "layout": "NHWC"}
CAST = {"op": "cast", "input": "x", "dtype": "uint8"}
SIZES = [(1, 1), (2, 1), (3, 3), (13, 9), (28, 28), (29, 28), (56, 84), (100, 31), (224, 375)]
MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


def draw_pictures(*shape: int, dtype: str = "float32") -> Any:
    return (np.random.default_rng(sum(shape)).random(shape) * 255).astype(dtype)


def resize(**fields: Any) -> dict[str, Any]:
    return {"op": "resize", "input": "x", "size": [28, 20]} | fields


def open_axes(**axes: int) -> dict[str, Any]:
    """Let a client send pictures of any size, but for the least of an axis."""
    names = ("x_height", "x_width")
    return {"dynamic_axes": AXES | {name: {"min": axes.get(name, 1), "max": 1000} for name in names}}


def ask_opencv(pictures: Any, method: str) -> Any:
    flag = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA}[method]
    resized = [cv2.resize(one.transpose(1, 2, 0), (20, 28), interpolation=flag) for one in pictures]
    return np.stack(resized).reshape(len(pictures), 28, 20, -1).transpose(0, 3, 1, 2)


def ask_torchvision(pictures: Any, method: str) -> Any:
    """Do what torchvision's ``resize`` of a tensor calls, which also Resize of transforms.v2 is."""
    blur = {} if method == "nearest" else {"antialias": True, "align_corners": False}
    tensor = torch.from_numpy(pictures)
    return torch.nn.functional.interpolate(tensor, size=[28, 20], mode=MODES[method], **blur).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("like", "method", "largest"),
    [
        ("opencv", "linear", 0.01), ("opencv", "nearest", 0), ("opencv", "area", 0.001),
        ("torchvision", "linear", 0.01), ("torchvision", "cubic", 0.01), ("torchvision", "nearest", 0),
    ],
)  # fmt: skip
def test_a_resize_equals_that_of_the_library(
    make: Make, like: str, method: str, largest: float, size: tuple[int, int]
) -> None:
    if method == "area":
        size = (size[0] + 27, size[1] + 19)
    axes = open_axes(x_height=28, x_width=20) if method == "area" else open_axes()
    file = make("float32", ["n", 3, 28, 20], 18, preprocess=[resize(like=like, method=method)], **axes)
    sent = draw_pictures(2, 3, *size)
    library = {"opencv": ask_opencv, "torchvision": ask_torchvision}[like](sent, method)
    actual, expected, _ = run_both(file, {"x": sent})
    assert np.abs(expected["y"] - library).max() <= largest
    assert np.abs(actual["y"] - library).max() <= largest


def test_a_nearest_pixel_is_the_librarys_for_every_ratio(make: Make) -> None:
    for like, ask in (("opencv", ask_opencv), ("torchvision", ask_torchvision)):
        file = make("float32", ["n", 1, 28, 20], 18, preprocess=[resize(like=like, method="nearest")], **open_axes())
        for height in range(1, 400, 3):
            sent = draw_pictures(1, 1, height, 400 - height)
            found = apply_preprocess(file.spec, {"x": sent})["x"]
            np.testing.assert_array_equal(found, ask(sent, "nearest"))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 22])
@pytest.mark.parametrize("steps", [[], [NHWC]])
def test_nodes_equal_numpy_in_every_opset(make: Make, opset: int, dtype: str, steps: list[Any]) -> None:
    for fields in (
        {"like": "opencv", "method": "linear"}, {"like": "opencv", "method": "area"},
        {"like": "opencv", "method": "nearest"}, {"like": "torchvision", "method": "nearest"},
    ):  # fmt: skip
        axes = open_axes(x_height=28, x_width=20)
        file = make(dtype, ["n", 3, 28, 20], opset, preprocess=[*steps, resize(**fields)][::-1], **axes)
        loose = {"float16": 2, "float32": 100, "float64": 1e9}[dtype]
        shape = (1, 3, 57, 40) if not steps else (1, 57, 40, 3)
        run_and_compare(file, {"x": draw_pictures(*shape, dtype=dtype)}, loose)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("layout", [[], [NHWC]])
def test_grey_swapped_and_cut_pictures(make: Make, opset: int, layout: list[Any]) -> None:
    steps = [
        CAST,
        {"op": "crop", "input": "x", "size": [7, 4]},
        *[{"op": op, "input": "x"} for op in ("swap", "grayscale")],
        *layout,
    ]
    file = make("float32", ["n", 1, 7, 4], opset, preprocess=steps)
    sent = draw_pictures(2, *((10, 9, 3) if layout else (3, 10, 9)), dtype="uint8")
    actual, _ = run_and_compare(file, {"x": sent}, 10)
    # 3 and 5 pixels too many: cut in the middle, half to even.
    cut = (sent if layout else sent.transpose(0, 2, 3, 1))[:, 2:9, 2:6].astype(np.float32)
    grey = np.stack([cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_BGR2GRAY) for one in cut])
    np.testing.assert_allclose(actual["y"][:, 0], grey, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        ({}, (0.299, 0.587, 0.114)),
        ({"like": "torchvision"}, (0.2989, 0.587, 0.114)),
        ({"weights": [0, 0.5, 2]}, (0, 0.5, 2)),
    ],
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_grey_is_a_sum_that_is_not_rounded(make: Make, dtype: str, fields: Any, weights: tuple[float, ...]) -> None:
    file = make(dtype, ["n", 5, 4, 1], preprocess=[{"op": "grayscale", "input": "x"} | fields])
    sent = draw_pictures(1, 5, 4, 3, dtype=dtype)
    actual, _ = run_and_compare(file, {"x": sent}, 10)
    np.testing.assert_allclose(actual["y"][..., 0], sent.astype(float) @ weights, rtol=2e-3)


@pytest.mark.parametrize("like", ["torchvision", "transformers"])
@pytest.mark.parametrize("spare", range(9))
def test_the_middle_is_that_of_the_library(make: Make, spare: int, like: str) -> None:
    file = make(
        "float32",
        ["n", 1, 3, 3],
        preprocess=[{"op": "crop", "input": "x", "size": [3, 3], "like": like}],
        **open_axes(x_height=3, x_width=3),
    )
    sent = draw_pictures(1, 1, 3 + spare, 4 + spare)
    actual, _ = run_and_compare(file, {"x": sent})
    # torchvision.transforms.functional.center_crop, and that of transformers.image_transforms
    half = round if like == "torchvision" else int
    top, left = half(spare / 2.0), half((spare + 1) / 2.0)
    np.testing.assert_array_equal(actual["y"], sent[:, :, top : top + 3, left : left + 3])


def test_a_crop_behind_a_resize_takes_its_size(make: Make) -> None:
    steps = [resize(size=[12, 10]), {"op": "crop", "input": "x", "size": [7, 6]}]
    file = make("float32", ["n", 3, 7, 6], preprocess=steps)
    sizes = {axis.name: (axis.min, axis.opt, axis.max) for axis in make_served_spec(file.spec).axes}
    assert sizes == {"n": (1, 3, 3), "x_height": (1, 12, 48), "x_width": (1, 10, 40)}
    run_and_compare(file, {"x": draw_pictures(1, 3, 30, 20)}, 1000)


def test_a_client_of_a_crop_or_an_area_sends_no_fewer_pixels(make: Make) -> None:
    for step in ({"op": "crop", "input": "x", "size": [7, 6]}, resize(size=[7, 6], like="opencv", method="area")):
        file = make("float32", ["n", 3, 7, 6], preprocess=[step])
        sizes = {axis.name: (axis.min, axis.max) for axis in make_served_spec(file.spec).axes}
        assert sizes == {"n": (1, 3), "x_height": (7, 28), "x_width": (6, 24)}
        with pytest.raises(SpecError, match=r"the steps only make smaller, to 7.*set `min: 7`"):
            make("float32", ["n", 3, 7, 6], preprocess=[step], **open_axes(x_width=6))


REFUSED = [
    (resize(like="pillow"), "no ONNX operator is proved to resize by linear like pillow", "op: decode"),
    (resize(method="lanczos"), "no ONNX operator is proved to resize by lanczos", "op: decode"),
    (resize(method="area"), "resize by area differs from library to library", "set `like: opencv`"),
    (resize(method="nearest"), "differs from library to library", "set `like: opencv` or `like: torchvision`"),
    (resize(method="cubic", like="opencv"), "by cubic like opencv", "or set `like: torchvision`"),
    (resize(fit="cover"), "`fit: cover` is for decoded pictures alone", "op: decode"),
    (resize(pad=[1]), "pad applies to `fit: contain` alone", "remove it"),
    (resize(size=[28]), "size must be two numbers", "only decoded pictures can"),
    ({"op": "grayscale", "input": "x"}, "which axis of .* are the channels", "it has 1 behind grayscale"),
    ({"op": "crop", "input": "x", "size": [9, 9]}, "no height and width", "in the input's `shape`"),
]


@pytest.mark.parametrize(("step", "message", "hint"), REFUSED)
def test_what_is_not_proved_is_refused_with_what_to_do(make: Make, step: Any, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=rf"(?s){message}.*{hint}"):
        make("float32", ["n", 3, 28, 20], preprocess=[step])


def test_grey_like_pillow_and_colours_without_three_weights_are_refused(make: Make) -> None:
    for fields, message in (
        ({"like": "pillow"}, "rounds to whole numbers"),
        ({"weights": [1, 2]}, "weights has 2 values"),
        ({"weights": [1, 2, 3], "like": "opencv"}, "like does not apply where weights are given"),
    ):
        with pytest.raises(SpecError, match=message):
            make("float32", ["n", 1, 28, 20], preprocess=[{"op": "grayscale", "input": "x"} | fields])
    with pytest.raises(SpecError, match="has 3 behind swap"):
        make("float32", ["n", 1, 28, 20], preprocess=[{"op": "swap", "input": "x"}])


def test_steps_need_an_opset(make: Make) -> None:
    with pytest.raises(SpecError, match=r"resize like torchvision needs opset 18, the spec asks for 17.*`opset: 18`"):
        make("float32", ["n", 3, 28, 20], 17, preprocess=[resize(like="torchvision")])
    with pytest.raises(SpecError, match="crop needs opset 11, the spec asks for 10"):
        make("float32", ["n", 3, 7, 6], 10, preprocess=[{"op": "crop", "input": "x", "size": [7, 6]}])
    # One that is no other in another opset needs no opset in the spec; that of the file counts.
    file = make("float32", ["n", 3, 28, 20], 17, preprocess=[resize(like="opencv")])
    file = replace(file, spec=replace(file.spec, opset=None))
    old = make_model([helper.make_node("Relu", ["x"], ["y"])], opset=10)
    onnx.save(old, file.folder / "m.onnx")
    with pytest.raises(SourceError, match="resize needs opset 11, and the model has 10"):
        add_steps(file.folder / "m.onnx", file.folder, file)


def test_what_follows_from_a_size_that_does_not_fit_is_not_told_besides(make: Make) -> None:
    steps = [resize(size=[20, 20], like="opencv"), {"op": "crop", "input": "x", "size": [28, 20]}]
    with pytest.raises(SpecError, match="crop only makes smaller, and the picture in front of it has 20 x 20") as told:
        make("float32", ["n", 3, 28, 20], preprocess=steps)
    assert len(told.value.problems) == 1
