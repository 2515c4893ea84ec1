"""Changes of a signature are found one by one, and those that break a client are told from those that do not."""

import copy
from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec

from onnxpack.inspection.signature import Change, compare_signatures, describe_signature
from onnxpack.spec.load import load

MODEL: dict[str, Any] = {
    "inputs": [
        {"name": "ids", "dtype": "int64", "shape": ["batch", "words"]},
        {"name": "image", "dtype": "float32", "shape": ["batch", 3, 8]},
    ],
    "outputs": [
        {"name": "label", "dtype": "int64", "shape": ["batch"]},
        {"name": "scores", "dtype": "float32", "shape": ["batch", 5]},
    ],
    "axes": {"batch": {"min": 1, "opt": 8, "max": 64}, "words": {"min": 2, "opt": 8, "max": 16}},
}


def change(path: str, value: Any) -> dict[str, Any]:
    """Return the model with one value changed, or taken away, at a path such as ``inputs.0.dtype``."""
    model = copy.deepcopy(MODEL)
    place: Any = model
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return model


ADDED = {"name": "mask", "dtype": "bool", "shape": ["batch"]}
CASES: list[tuple[str, Any, list[tuple[str, bool]]]] = [
    ("inputs.1", None, [("input 'image' was removed", True)]),
    ("outputs.1", None, [("output 'scores' was removed", True)]),
    ("inputs.2", ADDED, [("input 'mask' is new, and every request needs it", True)]),
    ("outputs.2", ADDED, [("output 'mask' is new", False)]),
    ("inputs.0.name", "tokens", [("input 'ids' is called 'tokens' now", True)]),
    ("outputs.0.name", "class", [("output 'label' is called 'class' now", True)]),
    ("inputs.0.dtype", "int32", [("input 'ids' was int64, and is int32 now", True)]),
    ("outputs.1.dtype", "float16", [("output 'scores' was float32, and is float16 now", True)]),
    ("inputs.1.shape.2", 9, [("input 'image', dimension 2: 8 became 9", True)]),
    ("outputs.1.shape.1", 6, [("output 'scores', dimension 1: 5 became 6", True)]),
    ("inputs.1.shape", ["batch", 24], [("input 'image' had the shape [batch, 3, 8], and has [batch, 24] now", True)]),
    ("outputs.0.shape", ["batch", 1], [("output 'label' had the shape [batch], and has [batch, 1] now", True)]),
    ("axes.words.max", 8, [("axis 'words' took 2 to 16, and takes 2 to 8 now", True)]),
    ("axes.words.min", 3, [("axis 'words' took 2 to 16, and takes 3 to 16 now", True)]),
    ("axes.words.max", 32, [("axis 'words' took 2 to 16, and takes 2 to 32 now", False)]),
    ("axes.words.min", 1, [("axis 'words' took 2 to 16, and takes 1 to 16 now", False)]),
    ("axes.words.opt", 4, []),
    ("inputs.0.shape.1", 16, [("input 'ids', dimension 1: 'words' (2 to 16) became 16", True)]),
    ("inputs.1.shape.2", "words", [("input 'image', dimension 2: 8 became 'words' (2 to 16)", False)]),
    ("inputs.1.shape.1", "batch", [("input 'image', dimension 1: 3 became 'batch' (1 to 64)", False)]),
    ("inputs.0.shape.1", "batch", [
        ("axis 'words' is called 'batch' now", False),
        ("axis 'words' took 2 to 16, and takes 1 to 64 now", False),
        ("the sizes 'batch', 'words' could differ, and are one, 'batch', now", True),
    ]),
    ("outputs.1.shape.1", "words", [("output 'scores', dimension 1: 5 became 'words'", True)]),
    ("outputs.0.shape.0", 1, [("output 'label', dimension 0: 'batch' became 1", True)]),
    ("outputs.0.shape.0", "words", [("output 'label', dimension 0: 'batch' became 'words'", True)]),
    ("inputs", MODEL["inputs"][::-1], [
        ("the order of the inputs changed, and `predict` takes them by place: image, ids", True)
    ]),
    ("outputs", [MODEL["outputs"][0], ADDED, MODEL["outputs"][1]], [
        ("output 'mask' is new", False),
        ("the order of the outputs changed, and a prediction has them by place: label, mask, scores", True),
    ]),
    ("inputs", None, []),
    ("outputs", None, []),
    ("axes", None, []),
    ("inputs.0.dtype", None, []),
    ("inputs.0.shape", None, []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "expected"), CASES)
def test_one_change_is_told_and_judged(path: str, value: Any, expected: list[tuple[str, bool]]) -> None:
    model = copy.deepcopy(MODEL)
    if path in ("inputs.2", "outputs.2"):
        model[path.partition(".")[0]].append(value)
    else:
        model = change(path, value)
    assert [(found.words, found.breaking) for found in compare_signatures(MODEL, model)] == expected


def test_nothing_changed() -> None:
    assert compare_signatures(MODEL, copy.deepcopy(MODEL)) == compare_signatures({}, {}) == ()


def test_a_change_has_its_place() -> None:
    assert compare_signatures(MODEL, change("inputs.0.dtype", "int32")) == (
        Change("inputs", "ids", "input 'ids' was int64, and is int32 now", breaking=True),
    )


def test_axes_may_have_other_names_as_long_as_they_mean_the_same() -> None:
    def rename(found: Any) -> Any:
        if isinstance(found, dict):
            return {rename(name): rename(value) for name, value in found.items()}
        return [*map(rename, found)] if isinstance(found, list) else {"batch": "n", "words": "batch"}.get(found, found)

    found = compare_signatures(MODEL, rename(MODEL))
    assert [(one.words, one.breaking) for one in found] == [
        ("axis 'batch' is called 'n' now", False),
        ("axis 'words' is called 'batch' now", False),
    ]
    swapped = rename(MODEL) | {"outputs": MODEL["outputs"]}
    assert [one.words for one in compare_signatures(MODEL, swapped) if one.breaking] == [
        "output 'label', dimension 0: 'batch' is another axis now, and what it was is 'n'",
        "output 'scores', dimension 0: 'batch' is another axis now, and what it was is 'n'",
    ]


def test_two_that_are_renamed_alike_are_not_guessed() -> None:
    old, new = ({"inputs": [ADDED | {"name": name} for name in names]} for names in ("ab", "cd"))
    assert [found.words.partition(" is ")[0] for found in compare_signatures(old, new)] == [
        "input 'a' was removed", "input 'b' was removed", "input 'c'", "input 'd'",
    ]  # fmt: skip


@pytest.mark.parametrize("model", [
    {"inputs": 5}, {"inputs": [5]}, {"outputs": [{}]}, {"axes": [1]}, {"axes": {"n": {}}},
    {"axes": {"n": {"min": float("inf"), "max": 1}}}, {"inputs": [{"name": 1, "shape": 2}]},
])  # fmt: skip
def test_what_describes_nothing_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        compare_signatures(MODEL, model)


def test_a_spec_describes_what_is_known_before_a_build(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08")
    spec = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}).spec
    described = describe_signature(spec)
    assert described["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["n", 4]}]
    assert described["axes"] == {"n": {"min": 1, "opt": 8, "max": 16}}
    built = described | {"outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 4]}]}
    assert compare_signatures(described, built) == compare_signatures(built, described) == ()


def test_a_spec_describes_what_clients_of_its_image_send(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "spec.yaml").write_text(
        "onnxpack: 1\nname: x\nmodel: {framework: onnx, path: m.onnx}\n"
        "inputs: {image: {dtype: uint8, shape: [n, 4, 4, 3]}}\ndynamic_axes: {n: [1, 8]}\n"
        "preprocess: [{op: decode, input: image}, {op: resize, input: image, size: [4, 4]}]\n"
    )
    found = describe_signature(load(tmp_path / "spec.yaml").spec)
    assert found["inputs"] == [{"name": "image", "dtype": "bytes", "shape": ["n"]}]
