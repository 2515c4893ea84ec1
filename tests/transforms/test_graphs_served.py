"""A source model with steps: exported, its steps put around it, and verified as a client sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Made, export_here, export_in_child, write_spec
from onnx_examples import MATMUL, constant, make_model

from onnxpack.core.values import MODEL, SERVED
from onnxpack.data.test_inputs import read_arrays
from onnxpack.graph import external_data
from onnxpack.graph.check import open_session
from onnxpack.parity.compare import Comparison, Tolerance, require_parity, verify_model
from onnxpack.pipeline.export import export_task
from onnxpack.spec.load import SpecFile
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.steps import AddSteps
from onnxpack.transforms.graphs import add_steps
from onnxpack.worker.call import Setting, call
from onnxpack.worker.codec import digest_value

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, image):
        return self.head(torch.nn.functional.avg_pool2d(torch.relu(self.conv(image)), (6, 8)).flatten(1))
"""
PREPROCESS = [
    {"op": "cast", "input": "image", "dtype": "uint8"},
    {"op": "layout", "input": "image", "layout": "NHWC"},
    {"op": "resize", "input": "image", "size": [6, 8]},
    {"op": "normalize", "input": "image", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2], "scale": 255},
]
POSTPROCESS = [
    {"op": "softmax", "input": "logits", "output": "probabilities"},
    {"op": "labels", "input": "probabilities", "output": "label", "labels": "labels.txt"},
]


def torch_spec(folder: Path, **fields: Any) -> SpecFile:
    (folder / "net.py").write_text(NET)
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")
    return write_spec(
        folder,
        {"framework": "torch", "factory": "net.py:Net"},
        **{
            "inputs": {"image": {"dtype": "float32", "shape": ["n", 3, 6, 8]}},
            "outputs": ["logits"],
            "dynamic_axes": {"n": {"min": 1, "max": 3}},
            "preprocess": PREPROCESS,
            "postprocess": POSTPROCESS,
        }
        | fields,
    )


def rows(model: Path, made: Made) -> list[Comparison]:
    return verify_model(model, made.served, Tolerance())


@pytest.mark.parametrize("opset", [17, 18])
def test_a_model_with_steps_is_verified_as_a_client_sees_it(tmp_path: Path, opset: int) -> None:
    file = torch_spec(tmp_path, opset=opset)
    made = export_in_child(file, tmp_path / "made")
    require_parity("the bare model", made.rows())
    served = made.served
    assert [sorted(at) for at in served.sizes] == [["image_height", "image_width", "n"]] * len(served.cases)
    assert {"n": 3, "image_height": 24, "image_width": 32} in served.sizes
    assert all(list(at) == ["n"] for at in made.reference.sizes)
    (tmp_path / "with").mkdir()
    task = AddSteps(made.model, SpecPart.of(file, "outputs", "dynamic_axes", "opset", "preprocess", "postprocess"))
    model = call(task, Setting(tmp_path, tmp_path / "with")).result.model
    assert model.path == tmp_path / "with" / MODEL
    assert [(info.name, info.dtype, info.shape) for info in (*model.inputs, *model.outputs)] == [
        ("image", "uint8", ("n", "image_height", "image_width", 3)),
        ("logits", "float32", ("n", 3)),
        ("probabilities", "float32", ("n", 3)),
        ("label", "string", ("n",)),
    ]
    assert model.opset == opset
    found = rows(model.path, made)
    require_parity("with its steps", found)
    assert len(found) == 3 * len(served.cases) > 12


def test_wrong_steps_do_not_pass(tmp_path: Path) -> None:
    file = torch_spec(tmp_path, preprocess=PREPROCESS[:1] + PREPROCESS[3:])
    made = export_here(file, tmp_path / "made")
    (tmp_path / "with").mkdir()
    swapped = [PREPROCESS[0], PREPROCESS[3] | {"mean": [0.6, 0.5, 0.4]}]
    add_steps(made.model.path, tmp_path / "with", torch_spec(tmp_path, preprocess=swapped))
    assert any(row.reason for row in rows(tmp_path / "with" / MODEL, made))


def test_real_samples_are_what_a_client_sends(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", image=np.full((2, 5, 9, 3), 200, np.uint8))
    made = export_here(torch_spec(tmp_path, verify={"samples": "s.npz"}), tmp_path / "made")
    assert made.served.sizes[-1] == {"n": 2, "image_height": 5, "image_width": 9}
    assert made.reference.sizes[-1] == {"n": 2}
    assert read_arrays(made.folder / SERVED / "samples.inputs.npz")["image"].dtype == np.uint8
    taken = read_arrays(made.folder / "reference/samples.inputs.npz")["image"]
    np.testing.assert_allclose(taken[0, :, 0, 0], (200 / 255 - np.array([0.4, 0.5, 0.6])) / [0.2, 0.3, 0.2], rtol=1e-6)


def test_a_spec_without_steps_has_one_reference(tmp_path: Path) -> None:
    made = export_here(torch_spec(tmp_path, preprocess=[], postprocess=[]), tmp_path / "made")
    assert made.served == made.reference
    assert made.served.folder == made.reference.folder
    assert sorted(path.name for path in made.folder.iterdir()) == [MODEL, "reference"]


def test_a_large_model_keeps_its_data_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [[(name, 1, ["n", 64])] for name in ("x", "y")]
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = make_model(MATMUL, *values, [constant("w", weights)], opset=18)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    monkeypatch.setattr(external_data, "EXTERNAL_DATA_OVER", 1000)
    steps = {"postprocess": [{"op": "sigmoid", "input": "y"}]}
    inputs = {"x": {"dtype": "float32", "shape": ["n", 64]}}
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, inputs=inputs, **steps)
    (tmp_path / "with").mkdir()
    model = add_steps(tmp_path / "m.onnx", tmp_path / "with", file).model
    assert sorted(path.name for path in (tmp_path / "with").iterdir()) == [MODEL, f"{MODEL}.data"]
    assert model.size_bytes > 64 * 64 * 4
    assert (tmp_path / "m.data").exists()
    x = np.ones((1, 64), np.float32)
    (actual,) = open_session(tmp_path / "with" / MODEL).run(None, {"x": x})
    np.testing.assert_allclose(actual, 1 / (1 + np.exp(-x @ weights)), atol=1e-6)


def test_an_export_counts_what_its_steps_and_its_evaluation_read(tmp_path: Path) -> None:
    (tmp_path / "spec").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "spec/v.npz", image=images, y=np.array(["cat", "dog", "bird", "cat", "cat"]))
    evaluation = {"data": "v.npz", "labels": "y", "metric": "accuracy"}
    file = torch_spec(tmp_path / "spec", evaluation=evaluation)
    made = export_in_child(file, tmp_path / "made")
    assert made.exported.evaluation
    assert {"labels.txt", "v.npz"} <= set(made.trace.files)
    kept = read_arrays(made.exported.evaluation.path)
    assert {name: array.shape for name, array in kept.items()} == {
        "outputs/logits": (5, 3),
        "outputs/probabilities": (5, 3),
        "outputs/label": (5,),
        "labels": (5,),
    }
    key = digest_value(export_task(file))
    changes: dict[str, dict[str, Any]] = {
        "metric": {"evaluation": evaluation | {"metric": "f1"}},
        "labels": {"evaluation": {"data": "v.npz", "metric": "a.b:c"}},
        "steps": {"evaluation": evaluation, "postprocess": POSTPROCESS[:1]},
    }
    unchanged = {
        name: digest_value(export_task(torch_spec(tmp_path / "spec", **fields))) == key
        for name, fields in changes.items()
    }
    assert unchanged == {"metric": True, "labels": False, "steps": False}
    assert digest_value(export_task(torch_spec(tmp_path / "spec", evaluation=evaluation))) == key
    (file.folder / "labels.txt").write_text("a\nb\nc\n")
    assert digest_value(export_task(file)) != key
    (file.folder / "labels.txt").write_text("cat\ndog\nbird\n")
    np.savez(file.folder / "v.npz", image=images[:4], y=np.array(["cat"] * 4))
    assert digest_value(export_task(file)) != key
