"""bfloat16 computed on the CPU: rounded after every operator, and no other values than ONNX's own evaluator gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from precision_examples import MODELS, inputs_of, place

from onnxpack.graph.widen import open_cpu_session
from onnxpack.parity import distances
from onnxpack.precision import Wish, reduce


def made(folder: Path, kind: str, precision: str = "bfloat16") -> Path:
    path, samples = place(folder / "source", MODELS[kind](22), kind)
    (folder / "out").mkdir()
    reduce.reduce_model(path, folder / "out", Wish(precision, "cuda"), samples)
    return folder / "out" / "model.onnx"


@pytest.mark.parametrize("kind", MODELS)
def test_cpu_session_of_bfloat16_rounds_each_value(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind)
    inputs = inputs_of(kind, 8, 3)
    expected = open_cpu_session(tmp_path / "source" / "float32.onnx").run(None, inputs)[0]
    (actual,) = open_cpu_session(path).run(None, inputs)
    sqnr = distances.compute_sqnr(expected.astype(np.float64), actual.astype(np.float64))
    assert sqnr is not None
    assert 30 < sqnr < 65  # 8 bits of significand are about 48 dB: neither destroyed nor still float32


def test_cpu_session_agrees_with_onnxs_own_evaluator(tmp_path: Path) -> None:
    path = made(tmp_path, "mlp")
    inputs = inputs_of("mlp", 4, 1)
    (expected,) = ReferenceEvaluator(str(path)).run(None, inputs)
    (actual,) = open_cpu_session(path).run(None, inputs)
    np.testing.assert_allclose(actual, expected.astype(np.float32), rtol=0.05, atol=0.05)


def test_cpu_session_of_other_models_runs_them_unchanged(tmp_path: Path) -> None:
    path = made(tmp_path, "cnn", "float16")
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in onnx.load(path).graph.initializer)
    assert open_cpu_session(path).run(None, inputs_of("cnn", 2, 0))[0].dtype == np.float32
