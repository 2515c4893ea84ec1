"""What a model answers on a runtime, written down as a Reference: it compares as equal with itself."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import FLOAT, make_model

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError
from onnxpack.core.values import OnnxModel, Reference
from onnxpack.data.test_inputs import write_arrays
from onnxpack.graph.check import read_facts
from onnxpack.parity.compare import Tolerance, read_case, verify_model
from onnxpack.tasks.answer import AnswerReference

NODES = [helper.make_node("Cast", ["x"], ["words"], to=TensorProto.STRING), helper.make_node("Relu", ["x"], ["y"])]
OUTPUTS = [("words", TensorProto.STRING, ["b", 4]), ("y", FLOAT, ["b", 4])]


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    onnx.save(make_model(NODES, outputs=OUTPUTS), tmp_path / "m.onnx")
    return read_facts(tmp_path / "m.onnx")


def make_reference(tmp_path: Path, rows: int) -> Reference:
    folder = tmp_path / "cases"
    folder.mkdir()
    write_arrays(folder / "one.inputs.npz", {"x": np.linspace(-1, 1, 4 * rows, dtype=np.float32).reshape(rows, 4)})
    write_arrays(folder / "one.outputs.npz", {"y": np.zeros((rows, 4), np.float32)})
    return Reference(Artifact.of(folder), ("one",), ({"b": rows},))


def test_answers_are_written_with_their_texts_and_compare_as_equal(tmp_path: Path, model: OnnxModel) -> None:
    made = tmp_path / "made"
    made.mkdir()
    answers = AnswerReference(model, make_reference(tmp_path, 2), "float32").run(made, print)
    inputs, outputs = read_case(answers.folder, "one")
    assert list(outputs) == ["words", "y"]
    assert outputs["words"].dtype.kind == "U"
    assert (outputs["y"] == np.maximum(inputs["x"], 0)).all()
    rows = verify_model(model.path, answers, Tolerance.of("float32"))
    assert [(row.output, row.reason) for row in rows] == [("words", ""), ("y", "")]


def test_a_model_that_does_not_run_says_so(tmp_path: Path, model: OnnxModel) -> None:
    made = tmp_path / "made"
    made.mkdir()
    reference = make_reference(tmp_path, 2)
    write_arrays(reference.folder / "one.inputs.npz", {"x": np.zeros((2, 3), np.float32)})
    with pytest.raises(GateError, match=r"the model does not run: .*dimensions"):
        AnswerReference(model, reference, "float32").run(made, print)
