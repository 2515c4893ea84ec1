"""A second runtime says which of two answers stands alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_examples import RELU, make_model

import onnxpack.diagnose.second_runtime
from onnxpack.data.test_inputs import Arrays
from onnxpack.diagnose.second_runtime import vote
from onnxpack.parity.compare import compare_case

X = {"x": np.float32([[-1, 2, 3, 4]])}
RIGHT = np.float32([[0, 2, 3, 4]])


def agree(expected: Arrays, actual: list[Any]) -> bool:
    return len(expected) == len(actual) and not any(
        row.reason for row in compare_case("", expected, dict(zip(expected, actual, strict=True)))
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_source_that_neither_runtime_agrees_with_stands_alone(model: Path) -> None:
    (line,) = vote(model, X, {"y": RIGHT + 1}, agree)
    assert line == "the source stands alone: onnx's reference evaluator gives what onnxruntime gives"


def test_an_onnxruntime_that_is_wrong_stands_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxpack.diagnose.second_runtime, "_run_shipped", lambda *_: [RIGHT * 2])
    (line,) = vote(model, X, {"y": RIGHT}, agree)
    assert line == "onnxruntime stands alone: onnx's reference evaluator gives what the source gives"
    (line,) = vote(model, X, {"y": RIGHT + 1}, agree)
    assert line == "onnx's reference evaluator agrees with neither: all three answers differ"


def test_vote_where_all_agree_says_nothing(model: Path) -> None:
    assert vote(model, X, {"y": RIGHT}, agree) == []


def test_a_model_of_a_runtimes_own_operators_is_not_asked_about(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]
    onnx.save(make_model(nodes, domains={"com.microsoft": 1}), tmp_path / "m.onnx")
    assert vote(tmp_path / "m.onnx", X, {"y": RIGHT}, agree) == []


def test_a_model_that_costs_too_much_is_not_asked_about(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxpack.diagnose.second_runtime, "MAX_COST", 1000)
    assert vote(model, X, {"y": RIGHT + 1}, agree) == []
