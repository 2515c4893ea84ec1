import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from bundle_examples import CUDA, TRANSACTIONS, save_iris, save_transactions

from onnxpack.bundle.render import render_module
from onnxpack.core.values import Axis

Load = Callable[..., ModuleType]


def transactions(batch: int, seq: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch * 1000 + seq)
    dates = rng.random((batch, seq, 6), np.float32)
    return dates, rng.integers(0, 9, (batch, seq, 20)), rng.random((batch, seq), np.float32)


def score(dates: np.ndarray, ids: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    return dates.sum((1, 2)) + ids.sum((1, 2)) + amounts.sum(1)


def test_predict_gives_the_outputs_by_name(load: Load) -> None:
    prediction = load("iris").Model().predict(float_input=np.array([[0, 0, 9, 0], [9, 0, 0, 0]], np.float32))
    assert prediction._fields == ("label", "probabilities")
    assert prediction.label.tolist() == [2, 0]
    np.testing.assert_allclose(prediction.probabilities[0], [0, 0, 1], atol=1e-3)


def test_predict_takes_several_inputs_in_order_or_by_name(load: Load) -> None:
    model = load("transactions").Model()
    dates, ids, amounts = transactions(3, 5)
    np.testing.assert_allclose(model.predict(dates, ids, amounts).score, score(dates, ids, amounts), rtol=1e-5)
    again = model.predict(amounts=amounts, dates=dates, input_ids=ids)
    np.testing.assert_allclose(again.score, score(dates, ids, amounts), rtol=1e-5)
    model.predict(*transactions(1, 1))
    model.predict(*transactions(64, 512))


@pytest.mark.parametrize(
    ("dtype", "shape", "kind", "message"),
    [
        ("float64", (1, 4), TypeError, "input 'float_input': expected float32, got float64"),
        ("int64", (1, 4), TypeError, "input 'float_input': expected float32, got int64"),
        (">f4", (1, 4), TypeError, "input 'float_input': expected float32, got >f4"),
        ("float32", (4,), ValueError, "input 'float_input': the shape must be [batch, 4], got [4]"),
        ("float32", (1, 5), ValueError, "input 'float_input', dimension 1: must be 4, got 5"),
        ("float32", (65, 4), ValueError, "input 'float_input', dimension 0 (batch): must be 1 to 64, got 65"),
        ("float32", (0, 4), ValueError, "input 'float_input', dimension 0 (batch): must be 1 to 64, got 0"),
    ],
)
def test_a_wrong_array_is_refused(
    load: Load, dtype: str, shape: tuple[int, ...], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        load("iris").Model().predict(np.zeros(shape, dtype))
    assert str(caught.value) == message


def test_a_list_is_refused(load: Load) -> None:
    with pytest.raises(TypeError, match="input 'float_input': expected a numpy array, got list"):
        load("iris").Model().predict([[1.0, 2.0, 3.0, 4.0]])


def test_one_axis_has_one_size_in_all_inputs(load: Load) -> None:
    dates, ids, amounts = transactions(2, 5)
    message = r"input 'amounts', dimension 1 \(seq\): must be 5 as in input 'dates', got 4"
    with pytest.raises(ValueError, match=message):
        load("transactions").Model().predict(dates, ids, amounts[:, :4])


def test_values_that_the_model_refuses_are_a_value_error(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    dates, ids, amounts = transactions(2, 5)
    with pytest.raises(ValueError, match=r"cannot take these values: .*out of data bounds, idx=77"):
        load("transactions").Model().predict(dates, ids + 77 - ids, amounts)
    assert capfd.readouterr().err == "", "onnxruntime's own log would say it a second time"


def test_names_are_checked(load: Load) -> None:
    model = load("iris").Model()
    with pytest.raises(ValueError, match="input 'float_input' is missing"):
        model.run({})
    with pytest.raises(ValueError, match="there is no input 'x'; the inputs are 'float_input'"):
        model.run({"float_input": np.zeros((1, 4), np.float32), "x": np.zeros(1)})


def test_odd_names_strings_bools_and_scalars(load: Load) -> None:
    model = load("odd").Model()
    truth, small, one = np.array([True, False]), np.array([[100, 2], [3, 4]], np.int8), np.array(100, np.int8)
    for texts in (np.array([["é"], ["\u65e5\u672c"]]), np.array([["é"], ["\u65e5\u672c"]], object)):
        prediction = model.predict(input_1=texts, class_=truth, a_b=small, a_b_2=one)
        assert prediction.index_.tolist() == [["é"], ["\u65e5\u672c"]]
        assert prediction.file.tolist() == [False, True]
        assert prediction.it_s_it_.tolist() == [[200, 102], [103, 104]]
    for wrong in (np.array([[1]]), np.array([[None]]), np.array([[b"x"]])):
        with pytest.raises(TypeError, match=r"input 'input.1': expected strings"):
            model.predict(wrong, truth, small, one)
    with pytest.raises(TypeError, match="input 'class': expected bool, got int8"):
        model.predict(texts, truth.astype(np.int8), small, one)
    model.warm_up()


def test_predict_batches_is_lazy_ordered_and_groups_equal_shapes(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("transactions")
    model, taken, sizes = module.Model(), [], []
    rows = [tuple(part[0] for part in transactions(1, seq)) for seq in [2] * 5 + [3] * 2 + [2]]
    predict = module.Model.predict

    def spy(self: object, *arrays: np.ndarray) -> object:
        sizes.append(arrays[0].shape[:2])
        return predict(self, *arrays)

    def source() -> Iterator[tuple[np.ndarray, ...]]:
        for row in rows:
            taken.append(row)
            yield row

    monkeypatch.setattr(module.Model, "predict", spy)
    results = model.predict_batches(source(), batch_size=2)
    first = next(results)
    assert len(taken) == 2, "no more than the first batch was read"
    scores = [first.score, *(result.score for result in results)]
    assert sizes == [(2, 2), (2, 2), (1, 2), (2, 3), (1, 2)]
    expected = [score(*(part[None] for part in row))[0] for row in rows]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_predict_batches_of_one_input(load: Load) -> None:
    model = load("iris").Model()
    rows = np.eye(4, dtype=np.float32)[:3] * 9
    results = list(model.predict_batches(iter(rows)))
    assert [result.label for result in results] == [0, 1, 2]
    assert results[0].probabilities.shape == (3,)
    assert list(model.predict_batches([])) == []
    with pytest.raises(TypeError, match="expected float32, got float64"):
        list(model.predict_batches([[1.0, 2.0, 3.0, 4.0]]))
    for size in (0, -1, 65):
        with pytest.raises(ValueError, match=f"batch_size must be 1 to 64, got {size}"):
            list(model.predict_batches(rows, batch_size=size))


def test_batches_are_filled_up_to_the_least_size(tmp_path: Path, load: Load) -> None:
    view = replace(TRANSACTIONS, axes=(Axis("batch", 2, 8, 64), Axis("seq", 1, 16, 512)))
    (tmp_path / "inference.py").write_text(render_module(view)["inference.py"])
    save_transactions(tmp_path / "model.onnx")
    rows = [tuple(part[0] for part in transactions(1, 4)) for _ in range(3)]
    results = list(load(tmp_path).Model().predict_batches(rows, batch_size=2))
    assert len(results) == 3
    assert results[2].score == results[0].score


def test_nodes_on_the_cpu_are_named_where_too_many_are_there(tmp_path: Path, load: Load) -> None:
    """The assignment is a real one of the CPU provider, and one that the CUDA provider would give."""
    (tmp_path / "inference.py").write_text(render_module(CUDA)["inference.py"])
    module = load(tmp_path)
    save_transactions(tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    real = session.get_provider_graph_assignment_info()
    count = sum(len(part.get_nodes()) for part in real)
    assert count > 1
    with pytest.raises(RuntimeError, match=f"^{count} of {count} nodes run on the CPU, and 95% must run on the GPU: "):
        module.require_gpu_nodes(real)

    node = SimpleNamespace(name="", op_type="Add", domain="")
    on_gpu = [SimpleNamespace(ep_name="CUDAExecutionProvider", get_nodes=lambda: [node] * 19)]
    on_cpu = SimpleNamespace(
        ep_name="CPUExecutionProvider", get_nodes=lambda: [SimpleNamespace(name="gather", op_type="G")]
    )
    module.require_gpu_nodes(on_gpu)
    module.require_gpu_nodes([*on_gpu, on_cpu])  # 95 % exactly
    with pytest.raises(
        RuntimeError, match=r"^2 of 21 nodes run on the CPU, and 95% must run on the GPU: gather, gather$"
    ):
        module.require_gpu_nodes([*on_gpu, on_cpu, on_cpu])
    with pytest.raises(RuntimeError, match=r"^30 of 30 nodes .*(gather, ){20}…$"):
        module.require_gpu_nodes([on_cpu] * 30)
    with pytest.raises(RuntimeError, match=r"^0 of 0 nodes"):
        module.require_gpu_nodes([])


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "rubbish\n"}, 8),
        ({"cpu.max": "1 0\n"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, 8),
    ],
)
def test_threads_follow_the_quota(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert load("iris").cpu_count(tmp_path) == count


def test_threads_of_the_spec_and_of_the_caller(load: Load, apps: dict[str, Path]) -> None:
    module = load("transactions")
    assert module.Model().threads == 2
    assert module.Model(threads=3).threads == 3
    assert module.Model(apps["transactions"] / "model.onnx")._session.get_session_options().intra_op_num_threads == 2


def test_session_options_fit_a_container(load: Load) -> None:
    options = load("iris").Model()._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.inter_op_num_threads == 1


def test_nothing_is_sent_and_no_thread_is_left_over(apps: dict[str, Path], tmp_path: Path) -> None:
    code = """
import os, numpy, inference
model = inference.Model(threads=1)
model.predict(numpy.zeros((1, 4), numpy.float32))
print(os.environ["ORT_DISABLE_TELEMETRY"], len(os.listdir("/proc/self/task")))
"""
    environment = {**os.environ, "HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "0"}
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, cwd=apps["iris"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"], "telemetry is off whatever the environment says, and no thread runs"
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_model_is_refused(load: Load, tmp_path: Path) -> None:
    save_iris(tmp_path / "whole.onnx")
    whole = (tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match=r"cannot load .*cut\.onnx"):
        load("iris").Model(tmp_path / "cut.onnx")
