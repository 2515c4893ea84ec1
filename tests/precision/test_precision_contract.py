"""Every precision, on every kind of model, through one driver: the contract of ``Precision``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from precision_examples import MODELS, inputs_of, place

from onnxpack.core.errors import GateError, SpecError
from onnxpack.graph.check import DTYPES, get_opset, open_session
from onnxpack.parity import distances
from onnxpack.precision import Converted, Job, Wish, load_precision, reduce
from onnxpack.precision.histogram import count_makeup
from onnxpack.spec.traits import precisions

FLOORS = {"float16": 50.0, "int8-dynamic": 25.0, "int8-static": 20.0, "int4-weights": 10.0, "int8-weights": 30.0}
"""Decibels; one bit is 6."""
STORED = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8-dynamic": "int8",
    "int8-static": "int8",
    "int4-weights": "uint8",
    "int8-weights": "uint8",
}
CASES = [(kind, name) for kind in MODELS for name in precisions()]


def job(folder: Path, kind: str, name: str, model: onnx.ModelProto | None = None, **wish: Any) -> Job:
    """What the child makes of a request, with calibration data of batches of different sizes."""
    path, samples = place(folder / "source", model or MODELS[kind](), kind)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    device = "cuda" if name == "bfloat16" else "cpu"
    made = reduce.make_job(path, Wish(name, **({"device": device} | wish)), samples, scratch)
    return replace(made, batches=lambda: iter([inputs_of(kind, rows, rows) for rows in (8, 8, 3)]))


def converted(asked: Job) -> Converted:
    return reduce.convert_checked(load_precision(asked.wish.precision), asked, count_makeup(asked.model))


def answers(model: onnx.ModelProto, folder: Path, kind: str) -> Any:
    reduce.save_model(model, folder / "checked.onnx")
    return open_session(folder / "checked.onnx").run(None, inputs_of(kind, 32, 99))[0]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_reduced_model_is_the_same_model_in_fewer_bits(tmp_path: Path, kind: str, name: str) -> None:
    source = MODELS[kind]()
    asked = job(tmp_path, kind, name)
    result = converted(asked).model
    outside = [(value.name, value.type) for value in (*source.graph.input, *source.graph.output)]
    assert [(value.name, value.type) for value in (*result.graph.input, *result.graph.output)] == outside
    assert get_opset(result) == get_opset(source)
    before, after = count_makeup(source).weights, count_makeup(result).weights
    assert after[STORED[name]] > 0
    assert after.get("float32", 0) < before["float32"]
    assert not asked.scratch.exists() or not list(asked.scratch.glob("*.onnx"))
    if name == "bfloat16":  # the CPU has no kernels for it
        onnx.checker.check_model(result, full_check=True)
        return
    right, got = answers(source, tmp_path, kind), answers(result, tmp_path, kind)
    noise = distances.compute_sqnr(right.astype(np.float64), got.astype(np.float64))
    assert noise is not None, "the reduced model gives the very same numbers: nothing was reduced"
    assert noise > FLOORS[name]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_same_job_gives_the_same_bytes(tmp_path: Path, kind: str, name: str) -> None:
    first, second = (converted(job(tmp_path / part, kind, name)).model.SerializeToString() for part in "ab")
    assert first == second


LAYER = {"mlp": "last", "cnn": "last", "attention": "query"}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_an_excluded_node_keeps_its_float32_weights(tmp_path: Path, kind: str, name: str) -> None:
    layer = LAYER[kind]
    weight = next(node.input[1] for node in MODELS[kind]().graph.node if node.name == layer)
    asked = job(tmp_path, kind, name, exclude_nodes=(layer,))
    if kind == "cnn" and name in ("int8-dynamic", "int4-weights", "int8-weights"):  # it has no other product
        with pytest.raises(GateError, match=r"changed nothing.*left in float32 \(excluded\): last"):
            converted(asked)
        return
    result = converted(asked)
    kept = next(tensor for tensor in result.model.graph.initializer if tensor.name == weight)
    assert DTYPES[kept.data_type] == "float32"
    assert any(node.input[1] == weight for node in result.model.graph.node if len(node.input) > 1)
    assert any(left.why == "excluded" for left in result.left)


@pytest.mark.parametrize("name", list(precisions()))
def test_steps_around_the_model_keep_their_precision(tmp_path: Path, name: str) -> None:
    model = MODELS["mlp"]()
    for node in model.graph.node:
        if node.name in ("first", "bias"):
            node.name = f"preprocess/{node.name}"
    result = converted(job(tmp_path, "mlp", name, model))
    dtypes = {tensor.name: DTYPES[tensor.data_type] for tensor in result.model.graph.initializer}
    assert (dtypes["w1"], dtypes["b1"]) == ("float32", "float32")
    assert STORED[name] in dtypes.values()


@pytest.mark.parametrize("name", list(precisions()))
def test_the_name_of_a_node_that_is_not_there_is_told_with_the_one_that_was_meant(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"no node and no operator type of the model is 'fisrt'.*did you mean 'first'"):
        job(tmp_path, "mlp", name, exclude_nodes=("fisrt",))


def test_nodes_are_excluded_by_operator_type(tmp_path: Path) -> None:
    result = converted(job(tmp_path, "cnn", "int8-static", exclude_nodes=("Conv",)))
    assert [left.node for left in result.left] == ["conv1", "conv2"]
    assert count_makeup(result.model).weights["int8"] == 320 + 10  # and a zero point for each column


def test_a_word_that_is_a_node_and_a_type_is_ambiguous(tmp_path: Path) -> None:
    model = MODELS["cnn"]()
    next(node for node in model.graph.node if node.name == "last").name = "Conv"
    with pytest.raises(SpecError, match="'Conv' is a node and an operator type"):
        job(tmp_path, "cnn", "int8-static", model, exclude_nodes=("Conv",))
