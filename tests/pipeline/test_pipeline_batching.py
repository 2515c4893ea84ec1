"""Dynamic batching: a build that asks for it proves it, and one that does not is told what it would bring."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import Here, write_spec
from onnx import helper
from onnx_examples import FLOAT, MATMUL, constant, make_model
from told import Told

import onnxpack.pipeline.batching
from onnxpack.cache.store import Store
from onnxpack.core.errors import GateError, SpecError
from onnxpack.image.docker import DockerEngine
from onnxpack.pipeline.batching import estimate_served_gain
from onnxpack.pipeline.chain import chain, walk
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.delivery import Batching, Runtime
from onnxpack.timing import BatchGain

SEPARATE = make_model(MATMUL, constants=[constant("w")])
TOGETHER = make_model(
    [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])]
)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Product, Told]]:
    """Build up to the model that ships, in this process; ``gain`` is what a measurement finds."""

    def run(model: onnx.ModelProto, runtime: Runtime, gain: float = 1.0, **fields: Any) -> tuple[Product, Told]:
        onnx.save(model, tmp_path / "m.onnx")
        file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)
        # In the place of a spec's own text, which is refused until the server can do it.
        file = replace(file, spec=replace(file.spec, runtime=runtime))

        def measure(model: Path, inputs: Path, sizes: tuple[int, int], *_: Any) -> BatchGain:
            return BatchGain(*sizes, 100.0, 100.0 * gain, gain)

        for module in ("runner", "verify"):
            monkeypatch.setattr(f"onnxpack.pipeline.{module}.call", Here())
        monkeypatch.setattr("onnxpack.timing.models.measure_batch", measure)
        told = Told()
        plan = Plan(file, next(iter(file.spec.targets)), tmp_path / "dist")
        work = Build(plan, Store(tmp_path / "cache"), DockerEngine(), told)
        return walk(work, chain(plan, "optimize"), Product()), told

    return run


@pytest.fixture
def supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxpack.pipeline.batching, "is_supported", lambda: True)


BATCHED = Runtime(batching=Batching(16))


def test_a_model_whose_rows_are_separate_is_built_with_batching(built: Any) -> None:
    product, told = built(SEPARATE, BATCHED, gain=9.0)
    assert product.batching == BatchGain(1, 16, 100.0, 900.0, 9.0)
    assert "batching float32" in told.lines
    assert not [line for line in told.lines if "runtime.batching" in line], "it is asked for already"


def test_batching_that_makes_a_model_slower_is_told(built: Any) -> None:
    _, told = built(SEPARATE, BATCHED, gain=0.6)
    words = "in batches of 16 the model answers 0.60 times as many rows each second"
    assert f"{words}: `runtime.batching` is no gain on this machine" in told.lines


def test_a_model_that_looks_at_the_whole_batch_is_refused_with_the_place(built: Any) -> None:
    with pytest.raises(GateError) as caught:
        built(TOGETHER, BATCHED)
    problem = caught.value.problems[0]
    assert problem.message.startswith("output 'y' of row ")
    assert problem.message.endswith(" depends on other rows of its batch")
    assert problem.hint == "remove `runtime.batching`"
    assert problem.where
    assert "values differ" in problem.detail


def test_a_model_that_looks_at_the_whole_batch_is_built_without_batching(built: Any, supported: None) -> None:
    product, told = built(TOGETHER, Runtime(), gain=9.0)
    assert product.batching.gain == 9.0
    assert not [line for line in told.lines if "runtime.batching" in line], "what would be refused is not suggested"


def test_an_output_without_the_batch_axis_is_refused(built: Any) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)]
    with pytest.raises(SpecError, match=r"batching needs all outputs .*: y \[\]"):
        built(make_model(nodes, outputs=[("y", FLOAT, [])]), BATCHED)


def test_an_output_that_has_the_batch_axis_twice_is_refused(built: Any) -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    model = make_model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", "n"])])
    with pytest.raises(SpecError, match=r"and nowhere else: y \[n, n\]"):
        built(model, BATCHED)


def test_cases_that_cannot_be_joined_prove_nothing(built: Any, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "one.npz", x=np.ones((1, 4), np.float32))
    with pytest.raises(GateError, match="batching was not proved: no two requests of the compared cases"):
        built(SEPARATE, BATCHED, verify={"random": False, "samples": "one.npz"})


def test_what_batches_bring_is_suggested_where_it_is_much_and_proved(built: Any, supported: None) -> None:
    _, told = built(SEPARATE, Runtime(), gain=2.5)
    words = "in batches of 16 the model answers 2.50 times as many rows each second"
    assert f"{words}: `runtime.batching: {{max_batch_size: 16}}` combines requests" in told.lines


def test_little_is_not_suggested(built: Any, supported: None) -> None:
    product, told = built(SEPARATE, Runtime(), gain=1.4)
    assert product.batching.gain == 1.4
    assert not [line for line in told.lines if "runtime.batching" in line]


def test_a_gain_is_of_requests_with_what_a_server_takes_for_each() -> None:
    slow = BatchGain(1, 32, request_rows_per_second=100.0, batch_rows_per_second=300.0, gain=3.0)
    assert 2.9 < estimate_served_gain(slow) < 3.0
    forest = BatchGain(1, 32, request_rows_per_second=190_000.0, batch_rows_per_second=2_100_000.0, gain=11.0)
    assert 1.0 < estimate_served_gain(forest) < 1.1
    many = BatchGain(4, 32, request_rows_per_second=400.0, batch_rows_per_second=1200.0, gain=3.0)
    assert estimate_served_gain(many) == pytest.approx(estimate_served_gain(slow)), "a request has several rows"


def test_what_this_release_would_refuse_is_not_suggested(built: Any) -> None:
    later = next(field for field in dataclasses.fields(Runtime) if field.name == "batching").metadata["later"]
    _, told = built(SEPARATE, Runtime(), gain=2.5)
    assert bool([line for line in told.lines if "runtime.batching" in line]) is not later


@pytest.mark.parametrize(
    ("fields", "runtime"),
    [
        ({}, Runtime(server="none")),
        ({"dynamic_axes": {"n": [1, 1]}}, Runtime()),
        ({"targets": {"gpu": {"device": "cuda"}}}, Runtime()),
    ],
    ids=["no server", "one row at most", "a GPU"],
)
def test_nothing_is_measured_where_it_says_nothing(built: Any, fields: Any, runtime: Runtime) -> None:
    assert built(SEPARATE, runtime, **fields)[0].batching is None


def test_at_most_32_rows_are_measured_where_the_spec_names_no_number(built: Any) -> None:
    product, _ = built(SEPARATE, Runtime(), dynamic_axes={"n": [2, 100]})
    assert (product.batching.request_rows, product.batching.batch_rows) == (2, 32)
