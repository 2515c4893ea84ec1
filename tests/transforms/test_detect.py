"""Boxes that overlap better ones are left out: in numpy, in onnxruntime, and as torchvision does it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from echo_models import NUMBERS, run_and_compare
from exporting import write_spec
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.spec.load import SpecFile
from onnxpack.transforms.outputs import apply_postprocess

NMS = {"op": "nms", "input": "yb", "scores": "ys", "k": 20}


def detector(folder: Path, boxes: list[Any], scores: list[Any], opset: int = 18, **fields: Any) -> SpecFile:
    """Write a spec of a model that gives back boxes and scores."""
    dtype = fields.pop("dtype", "float32")
    shapes = {"b": boxes, "s": scores}
    ends = [[(f"{end}{name}", NUMBERS[dtype], shape) for name, shape in shapes.items()] for end in "xy"]
    nodes = [helper.make_node("Identity", [f"x{name}"], [f"y{name}"], name) for name in shapes]
    onnx.save(make_model(nodes, *ends, opset=opset, ir=8), folder / "m.onnx")
    inputs = {f"x{name}": {"dtype": dtype, "shape": shape} for name, shape in shapes.items()}
    used = {size for size in (*boxes, *scores) if isinstance(size, str)}
    rest = {"inputs": inputs, "outputs": ["yb", "ys"], "opset": opset, "dynamic_axes": {name: [0, 50] for name in used}}
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **(rest | fields))


def draw_boxes(rows: int, count: int, classes: int, seed: int = 0) -> dict[str, Any]:
    """Draw boxes of corners, many of which overlap, and scores that differ."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (rows, count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 40, (rows, count, 2))], axis=2)
    scores = random.permutation(rows * classes * count).reshape(rows, classes, count) / (rows * classes * count)
    return {"xb": boxes.astype(np.float32), "xs": scores.astype(np.float32)}


@pytest.mark.parametrize("opset", [11, 12, 13, 18, 22])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("centre", [False, True])
def test_nodes_and_numpy_find_the_same_boxes(tmp_path: Path, opset: int, dtype: str, centre: bool) -> None:
    step = NMS | {"iou": 0.3, "score": 0.2, "per_class": 9} | ({"boxes": "centre"} if centre else {})
    file = detector(tmp_path, ["n", 40, 4], ["n", 3, 40], opset, dtype=dtype, postprocess=[step])
    sent = {name: array.astype(dtype) for name, array in draw_boxes(2, 40, 3).items()}
    actual, _ = run_and_compare(file, sent)
    assert list(actual) == ["detected_boxes", "detected_scores", "detected_classes", "detected_count"]
    assert (actual["detected_count"] > 5).all()


def keep_best(boxes: Any, scores: Any, iou: float) -> list[int]:
    """Do what torchvision.ops.nms does; that itself, where its operators fit this PyTorch."""
    try:
        import torch
        from torchvision.ops import nms

        return list(map(int, nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou)))
    except (ImportError, RuntimeError):
        pass
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for box in map(int, np.argsort(-scores, kind="stable")):
        for other in kept:
            width = max(0, min(boxes[box, 2], boxes[other, 2]) - max(boxes[box, 0], boxes[other, 0]))
            height = max(0, min(boxes[box, 3], boxes[other, 3]) - max(boxes[box, 1], boxes[other, 1]))
            if width * height / (areas[box] + areas[other] - width * height) > iou:
                break
        else:
            kept.append(box)
    return kept


@pytest.mark.parametrize("iou", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_those_of_torchvision(tmp_path: Path, iou: float, seed: int) -> None:
    sent = draw_boxes(1, 60, 4, seed)
    file = detector(tmp_path, ["n", 60, 4], ["n", 60, 4], postprocess=[NMS | {"iou": iou, "score": 0.1, "k": 240}])
    actual, _ = run_and_compare(file, {"xb": sent["xb"], "xs": sent["xs"].transpose(0, 2, 1)})
    boxes, scores = sent["xb"][0], sent["xs"][0]
    found = []
    for number, of_class in enumerate(scores):
        good = np.flatnonzero(of_class > 0.1)
        places = good[keep_best(boxes[good], of_class[good], iou)]
        found += [(float(of_class[place]), number, int(place)) for place in places]
    values, classes, places = (np.array(part) for part in zip(*sorted(found, reverse=True), strict=True))
    count = int(actual["detected_count"][0])
    assert count == len(values) > 8
    np.testing.assert_allclose(actual["detected_scores"][0, :count], values)
    np.testing.assert_array_equal(actual["detected_classes"][0, :count], classes)
    np.testing.assert_array_equal(actual["detected_boxes"][0, :count], boxes[places])


def test_what_a_client_gets_is_easy_to_use(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    step = NMS | {"k": 4, "labels": "labels.txt", "output": "found", "score": 0.05}
    file = detector(tmp_path, ["n", 3, 4], ["n", 3, 2], postprocess=[step])
    boxes = np.array([[[0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.8, 0.7], [0.0, 0.2]]], np.float32)
    actual, _ = run_and_compare(file, {"xb": boxes, "xs": scores})
    assert list(actual) == ["yb", "ys", "found_boxes", "found_scores", "found_classes", "found_count"]
    assert actual["found_classes"].tolist() == [["cat", "dog", "dog", ""]]
    assert actual["found_boxes"][0].tolist() == [[0, 0, 10, 10], [0, 1, 10, 11], [50, 50, 60, 60], [0, 0, 0, 0]]
    assert actual["found_count"].tolist() == [3]
    gone = detector(tmp_path, ["n", 3, 4], ["n", 3, 2], postprocess=[step | {"keep": False}])
    assert len(run_and_compare(gone, {"xb": boxes, "xs": scores})[0]) == 4


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("rows", [0, 2])
def test_no_rows_no_boxes_and_no_good_ones_are_no_hindrance(tmp_path: Path, rows: int, count: int) -> None:
    file = detector(tmp_path, ["n", "m", 4], ["n", 3, "m"], postprocess=[NMS | {"score": 0.5}])
    for seed in range(2):
        sent = draw_boxes(rows, count, 3, seed)
        sent["xs"] *= seed
        actual, _ = run_and_compare(file, sent)
        assert actual["detected_boxes"].shape == (rows, 20, 4)
        assert seed or not actual["detected_count"].any()


def test_equal_scores_and_odd_numbers_give_one_answer(tmp_path: Path) -> None:
    file = detector(tmp_path, ["n", 6, 4], ["n", 2, 6], postprocess=[NMS | {"k": 12, "iou": 0.6}])
    boxes = np.array(
        [[0, 0, 8, 5], [0, 0, 5, 5], [3, 0, 8, 5], [9, 9, 9, 9], [20, 20, 10, 10], [0, 0, 8, 3]], np.float32
    )
    scores = np.array([[0.5, 0.5, 0.5, 0.5, np.nan, np.inf], [0.25, np.nan, 0.25, 0.25, 0.25, -1]], np.float32)
    actual, _ = run_and_compare(file, {"xb": boxes[None], "xs": scores[None]})
    # 5 · 5 of 8 · 5 is 0.625, and 8 · 3 of 8 · 5 is 0.6, which is not more than 0.6
    assert actual["detected_count"].tolist() == [6]
    assert actual["detected_classes"][0, :6].tolist() == [0, 0, 0, 1, 1, 1]
    assert actual["detected_boxes"][0, 0].tolist() == [0, 0, 8, 3]


REFUSED = [
    (["n", 6, 5], ["n", 2, 6], {}, "needs boxes of 4 numbers, and 'yb' has 5"),
    (["n", 6, 4], ["n", 2, 7], {}, "nms has 6 boxes, and 'ys' is [n, 2, 7]"),
    (["n", 6, 4], ["n", 6, 6], {}, "finds classes and boxes equally many in 'ys' [n, 6, 6]"),
    (["n", 6, 4], ["n", 6], {}, "nms needs 3 dimensions, and 'ys' has 2"),
    (["n", 6, 4], ["n", 2, 6], {"axis": 0}, "cannot have its classes along axis 0"),
    (["n", 6, 4], ["n", 2, 6], {"labels": "labels.txt"}, "nms has 3 labels, and 'ys' has 2 classes"),
]


@pytest.mark.parametrize(("boxes", "scores", "fields", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_is_no_detector_is_refused(
    tmp_path: Path, boxes: list[Any], scores: list[Any], fields: dict[str, Any], words: str
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    file = detector(tmp_path, boxes, scores, postprocess=[NMS | fields])
    sizes = [[1 if size == "n" else size for size in shape] for shape in (boxes, scores)]
    sent = {name: np.ones(shape, np.float32) for name, shape in zip(("xb", "xs"), sizes, strict=True)}
    with pytest.raises(SpecError) as refused:
        run_and_compare(file, sent)
    assert words in str(refused.value).replace("[1,", "[n,")
    with pytest.raises(SpecError, match="nms"):
        apply_postprocess(file, {f"y{name[1:]}": array for name, array in sent.items()})


def test_classes_are_along_the_axis_that_the_step_says(tmp_path: Path) -> None:
    sent = draw_boxes(1, 6, 6)
    for axis in (1, 2, -1):
        file = detector(tmp_path, ["n", 6, 4], ["n", 6, 6], postprocess=[NMS | {"axis": axis}])
        actual, _ = run_and_compare(file, sent)
        place = np.argwhere(sent["xs"][0] == actual["detected_scores"][0, 0])[0]
        assert actual["detected_classes"][0, 0] == place[0 if axis == 1 else 1]


def test_an_old_opset_is_told(tmp_path: Path) -> None:
    file = detector(tmp_path, ["n", 6, 4], ["n", 2, 6], postprocess=[NMS])
    model = onnx.load(tmp_path / "m.onnx")
    model.opset_import[0].version = 10
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(SourceError, match="nms needs opset 11, and the model has 10"):
        run_and_compare(file, draw_boxes(1, 6, 2))
