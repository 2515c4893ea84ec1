"""Timing several models: what is run how often and in which order, never how long it took."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_examples import MATMUL, RELU, constant, make_model

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import SourceError
from onnxpack.core.values import OnnxModel
from onnxpack.data.test_inputs import write_arrays
from onnxpack.graph.check import read_facts
from onnxpack.tasks.measure import MeasureBatch, MeasureModels
from onnxpack.timing import BatchGain, Measured, compute_paired_gain
from onnxpack.timing.models import Work, load_in_turn, measure, measure_batch, open_timed_session, time_side_by_side
from onnxpack.worker.call import Setting, call


@pytest.fixture
def models(tmp_path: Path) -> dict[str, OnnxModel]:
    onnx.save(make_model(RELU), tmp_path / "relu.onnx")
    onnx.save(make_model(MATMUL, constants=[constant("w")]), tmp_path / "matmul.onnx")
    for rows in (2, 7):
        write_arrays(tmp_path / f"{rows}.npz", {"x": np.ones((rows, 4), np.float32)})
    return {name: read_facts(tmp_path / f"{name}.onnx") for name in ("relu", "matmul")}


def measured(models: dict[str, OnnxModel], order: tuple[str, ...], folder: Path) -> dict[str, Measured]:
    inputs, many = (Artifact.of(folder / f"{rows}.npz") for rows in (2, 7))
    return call(MeasureModels(models, order, inputs, many, 0.0, 1, ()), Setting(folder)).result.models


def test_every_model_is_measured_beside_the_first(models: dict[str, OnnxModel], tmp_path: Path) -> None:
    found = measured(models, ("relu", "matmul"), tmp_path)
    assert list(found) == ["relu", "matmul"]
    assert (found["relu"].speedup, found["relu"].throughput_gain) == (1.0, 1.0)
    for row in found.values():
        assert row.runs == 5
        assert 0 < row.latency_p50_seconds <= row.latency_p99_seconds
        assert row.rows_per_second is not None
        assert row.rows_per_second > 7 / 60
        assert row.load_seconds > 0
        assert 10_000_000 < row.peak_rss_bytes < 1_000_000_000


def test_the_order_of_the_request_says_which_is_the_first(models: dict[str, OnnxModel], tmp_path: Path) -> None:
    found = measured(models, ("matmul", "relu"), tmp_path)
    assert list(found) == ["matmul", "relu"]
    assert (found["matmul"].speedup, found["matmul"].throughput_gain) == (1.0, 1.0)


def test_without_a_large_batch_there_is_no_throughput(models: dict[str, OnnxModel], tmp_path: Path) -> None:
    paths = {name: model.path for name, model in models.items()}
    found = measure(paths, tmp_path / "2.npz", None, 0.0, None)
    assert {(row.rows_per_second, row.throughput_gain) for row in found.values()} == {(None, None)}


def test_a_batch_is_measured_beside_one_request(models: dict[str, OnnxModel], tmp_path: Path) -> None:
    task = MeasureBatch(models["matmul"], Artifact.of(tmp_path / "7.npz"), 1, 16, 0.0, 1, ())
    found = call(task, Setting(tmp_path)).result
    assert (found.request_rows, found.batch_rows) == (1, 16)
    assert found.request_rows_per_second > 0
    assert found.batch_rows_per_second > 0
    assert found.gain > 0


def test_a_gain_is_in_rows_and_not_in_runs(
    models: dict[str, OnnxModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def timed(works: Mapping[str, Work], seconds: float) -> dict[str, list[float]]:
        sizes.extend(len(work()[0]) for work in works.values())
        return {"2": [0.5, 0.5], "16": [1.0, 1.0]}

    monkeypatch.setattr("onnxpack.timing.models.time_side_by_side", timed)
    found = measure_batch(models["matmul"].path, tmp_path / "7.npz", (2, 16), 0.0, 1)
    assert sizes == [2, 16]
    assert found == BatchGain(2, 16, 4.0, 16.0, 4.0)


def test_a_broken_model_is_told(tmp_path: Path, models: dict[str, OnnxModel]) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    broken = replace(models["relu"], file=Artifact.of(tmp_path / "broken.onnx"))
    with pytest.raises(SourceError):
        measured({**models, "broken": broken}, ("relu", "matmul", "broken"), tmp_path)


def test_rounds_hold_every_model_once_and_in_changing_order() -> None:
    calls: list[str] = []
    times = time_side_by_side({name: lambda name=name: calls.append(name) for name in "abc"}, 0.0)  # type: ignore[misc]
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 5, "b": 5, "c": 5}
    warm, timed = calls[:9], calls[9:]
    assert warm == [*"aaabbbccc"]
    rounds = ["".join(timed[start : start + 6]) for start in range(0, 30, 6)]
    assert all(sorted(one[::2]) == [*"abc"] and one[::2] == one[1::2] for one in rounds)  # unseen, then timed
    assert len(set(rounds)) > 1


def test_time_ends_the_rounds_after_the_least_number() -> None:
    assert len(time_side_by_side({"a": lambda: None}, 3600.0)["a"]) == 1000


def test_what_is_loaded_is_loaded_in_turn_and_never_twice_at_once() -> None:
    alive: set[str] = set()
    calls: list[str] = []

    class Loaded:
        def __init__(self, name: str) -> None:
            assert name not in alive
            alive.add(name)
            calls.append(name)
            self.name = name

        def __del__(self) -> None:
            alive.discard(self.name)

    made, seconds = load_in_turn({name: lambda name=name: Loaded(name) for name in "ab"})  # type: ignore[misc]
    assert calls == [*"abababab"]
    assert {name: one.name for name, one in made.items()} == {"a": "a", "b": "b"}
    assert all(one >= 0 for one in seconds.values())


def test_gains_are_of_pairs_so_that_a_slow_spell_of_the_machine_does_not_count() -> None:
    base = [2.0, 2.0, 20.0, 20.0, 2.0]
    own = [1.0, 1.0, 10.0, 10.0, 1.0]
    assert compute_paired_gain(base, own) == 2.0
    assert compute_paired_gain(base, base) == 1.0


def test_sessions_are_the_shipped_modules() -> None:
    template = (Path(__file__).parents[2] / "templates/inference.py.j2").read_text()
    shipped = template[template.index("SessionOptions()") :]
    source = Path(sys.modules[open_timed_session.__module__].__file__ or "").read_text()
    ours = source[source.index("SessionOptions()") :]
    for option in ("inter_op_num_threads = 1", "allow_spinning", "enable_mem_pattern = False"):
        assert option in shipped
        assert option in ours


def test_the_values_need_no_runtime() -> None:
    code = "import sys, onnxpack.timing, onnxpack.timing.bench; print('onnxruntime' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout == "False\n"
    assert Measured.__dataclass_params__.frozen  # type: ignore[attr-defined]
