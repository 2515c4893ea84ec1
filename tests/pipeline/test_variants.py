"""From a verified float32 model to the precision that ships: a quantizer that fails in any way is found out."""

import importlib
import sys
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exporting import Here, write_spec
from onnx import TensorProto, helper, numpy_helper
from told import Told

import onnxpack.pipeline.variants
from onnxpack.cache.store import Store
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError, OnnxpackError, SpecError
from onnxpack.image.docker import DockerEngine
from onnxpack.pipeline.chain import chain, stage_order, walk
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.run import Build, Product
from onnxpack.precision import Converted, Job
from onnxpack.timing import Measured

WIDTH = 64


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("runner", "verify"):
        monkeypatch.setattr(f"onnxpack.pipeline.{module}.call", Here())


def mlp(folder: Path) -> None:
    """Three layers; each of them is one that can be quantized. The optimiser finds a node that does nothing."""
    generator = np.random.default_rng(0)
    weights = [(generator.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH / 2)).astype(np.float32) for _ in range(3)]
    nodes, now = [helper.make_node("Dropout", ["x"], ["kept"])], "kept"
    for index in range(3):
        nodes.append(helper.make_node("MatMul", [now, f"w{index}"], [f"h{index}"], name=f"layer{index}"))
        now = f"r{index}" if index < 2 else "y"
        if index < 2:
            nodes.append(helper.make_node("Relu", [f"h{index}"], [now], name=f"relu{index}"))
    nodes[-1].output[0] = "y"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in "xy"]
    tensors = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "mlp", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, folder / "m.onnx")
    np.savez(folder / "calibration.npz", x=generator.standard_normal((32, WIDTH)).astype(np.float32))


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., tuple[Product, Told]]:
    mlp(tmp_path)

    def run(precision: str, budget: float = 600.0, **fields: Any) -> tuple[Product, Told]:
        target = {"device": "cpu", "precision": precision} | fields.pop("target", {})
        inputs = {"x": {"dtype": "float32", "shape": ["n", WIDTH]}}
        model = {"framework": "onnx", "path": "m.onnx"}
        file = write_spec(tmp_path, model, inputs=inputs, targets={"cpu": target}, **fields)
        told = Told()
        plan = Plan(file, "cpu", tmp_path / "dist")
        work = Build(plan, Store(tmp_path / "cache"), DockerEngine(), told, budget)
        order = stage_order(plan)
        return walk(work, chain(plan, order[order.index("bundle") - 1]), Product()), told

    return run


def plant(monkeypatch: pytest.MonkeyPatch, name: str, convert: Any) -> None:
    module = types.ModuleType(f"onnxpack.precision.{name.replace('-', '_')}")
    module.NAME = name  # type: ignore[attr-defined]
    module.refusal = lambda wish, model: ""  # type: ignore[attr-defined]
    module.convert = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def figures(monkeypatch: pytest.MonkeyPatch, speedups: dict[str, float]) -> None:
    """Fixed ones: what was timed may not decide a test. By the number of the trial, float32's being 0."""

    def measure(models: dict[str, Path], *_: Any) -> dict[str, Measured]:
        return {
            name: Measured(0.001, 0.002, speedups.get(name, 1.0), 1000.0, speedups.get(name, 1.0), 1, 0.1, 10)
            for name in models
        }

    monkeypatch.setattr("onnxpack.timing.models.measure", measure)


CALIBRATION = {"calibration": {"data": "calibration.npz"}}


def test_float32_is_the_identity(built: Any) -> None:
    result, told = built("float32")
    assert (result.model.precision, result.candidates, result.evaluation) == ("float32", (), None)
    assert not [line for line in told.lines if line.startswith("precision")]


def count_operators(path: Path) -> Counter[str]:
    """Return how many nodes of each kind a model has."""
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static", "int8-weights", "float16"])
def test_each_precision_ships_with_its_figures(built: Any, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    figures(monkeypatch, {"1": 1.5})
    result, _ = built(precision, **(CALIBRATION if precision == "int8-static" else {}))
    base, found = result.candidates
    assert result.model.precision == precision
    assert (base.precision, found.precision, found.chosen, found.reason) == ("float32", precision, True, "")
    assert found.size_bytes == result.model.size_bytes < base.size_bytes
    assert (base.speedup, found.speedup) == (1.0, 1.5)
    assert found.cosine > 0.99
    assert found.ops
    before, after = count_operators(result.exported.model.path), count_operators(result.model.path)
    assert found.ops == {op: (before[op], after[op]) for op in before | after if before[op] != after[op]}


@pytest.mark.parametrize(
    ("precision", "steps"),
    [
        ("int8-weights", ["precision int8-weights", "optimize int8-weights", "verify int8-weights"]),
        ("float16", ["optimize float32", "verify float32", "precision float16", "verify float16"]),
    ],
)
def test_a_candidate_is_finished_before_it_is_judged(built: Any, precision: str, steps: list[str]) -> None:
    result, told = built(precision, target={"optimize": "extended"}, gates={"min_speedup": 0.0001})
    at = [told.lines.index(step) for step in steps]
    assert at == sorted(at)
    base, chosen = result.candidates
    assert chosen.model_digest == result.model.file.digest == Artifact.of(result.model.path).digest
    assert chosen.size_bytes == result.model.size_bytes
    assert result.parity.min_sqnr_db == chosen.sqnr_db
    assert base.model_digest not in (chosen.model_digest, result.exported.model.file.digest), "float32 is optimized too"


def test_float32_is_optimized_before_it_is_judged(built: Any) -> None:
    result, told = built("float32", target={"optimize": "extended"}, **EVALUATED)
    stages = [line for line in told.lines if line.partition(" ")[0] in ("export", "verify", "optimize", "evaluate")]
    assert stages == [
        "export", "verify export", "optimize float32", "verify float32", "evaluate source", "evaluate float32",
    ]  # fmt: skip
    assert result.evaluation.model_digest == result.model.file.digest != result.exported.model.file.digest


def test_a_second_build_takes_everything_that_stands(built: Any) -> None:
    first, _ = built("int8-weights")
    second, told = built("int8-weights")
    assert second.candidates == first.candidates
    assert "precision int8-weights unchanged" in told.lines
    assert all(line.endswith("unchanged") for line in told.lines if line.split()[0] in ("verify", "measure", "export"))


@pytest.mark.case("M7")
def test_a_quantizer_that_changes_nothing_is_refused(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "int8-weights", lambda job: Converted(job.model))
    with pytest.raises(GateError, match="int8-weights changed nothing"):
        built("int8-weights")


def ruined(job: Job) -> Converted:
    """As float16 is made, but for the weights: all of them are one."""
    made = importlib.import_module("onnxpack.precision.float16").convert(job)
    for tensor in made.model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.ones(tuple(tensor.dims), np.float16), tensor.name))
    return Converted(made.model)


@pytest.mark.case("M7")
def test_a_quantizer_that_destroys_the_numbers_is_refused(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "int8-weights", ruined)
    with pytest.raises(GateError, match="the int8-weights model differs from its source") as caught:
        built("int8-weights")
    assert "passed over" in caught.value.problems[0].detail


@pytest.mark.case("M7")
def test_a_quantizer_that_slows_down_and_saves_nothing_is_refused(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "int8-weights", with_ballast)
    figures(monkeypatch, {"1": 0.5})
    with pytest.raises(GateError, match=r"int8-weights does not help: 0\.50 times the speed of float32"):
        built("int8-weights")


def test_model_slower_than_the_gate_is_refused_although_it_is_smaller(built: Any, monkeypatch: Any) -> None:
    figures(monkeypatch, {"1": 0.9})
    assert built("int8-weights")[0].model.precision == "int8-weights"
    with pytest.raises(GateError, match=r"has 0\.90 times the speed of float32, gates\.min_speedup asks for 1"):
        built("int8-weights", gates={"min_speedup": 1.0})


def test_without_a_gpu_cudas_precision_must_be_smaller(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result, told = built("bfloat16", target={"device": "cuda"}, gates={"min_speedup": 2.0})
    assert result.candidates[1].speedup is None
    assert "no speed is measured: it would be the CPU's" in told.lines


def with_ballast(job: Job) -> Converted:
    """float16, and no smaller file."""
    made = importlib.import_module("onnxpack.precision.float16").convert(job)
    made.model.graph.initializer.append(numpy_helper.from_array(np.zeros(20_000, np.float32), "ballast"))
    return Converted(made.model)


def test_cuda_model_that_is_no_smaller_is_refused_without_a_gpu(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "bfloat16", with_ballast)
    with pytest.raises(GateError, match="bfloat16 does not help: no smaller"):
        built("bfloat16", target={"device": "cuda"})


def test_auto_takes_the_smallest_for_cuda(built: Any) -> None:
    result, _ = built("auto", target={"device": "cuda"})
    assert result.model.precision in ("float16", "bfloat16")


def test_auto_passes_over_what_fails_and_says_why(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "int8-dynamic", lambda job: Converted(job.model))
    plant(monkeypatch, "int8-weights", ruined)
    figures(monkeypatch, {"1": 2.0})
    result, _ = built("auto", **CALIBRATION)
    found = {candidate.precision: candidate for candidate in result.candidates}
    assert result.model.precision == "int8-static"
    assert found["int8-static"].chosen
    assert "changed nothing" in found["int8-dynamic"].reason
    assert "differs from its source" in found["int8-weights"].reason


def test_auto_keeps_float32_where_nothing_helps(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    figures(monkeypatch, {"1": 0.5, "2": 0.5, "3": 0.5})
    result, _ = built("auto", gates={"min_speedup": 1.0})
    assert result.model.precision == "float32"


def test_auto_is_bounded_in_time(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(monotonic=iter(range(0, 10_000, 500)).__next__)
    monkeypatch.setattr(onnxpack.pipeline.variants, "time", clock)
    result, _ = built("auto", 600.0)
    reasons = [candidate.reason for candidate in result.candidates]
    assert reasons[-1] == "not tried: 600 s had passed"
    assert result.model.precision != "auto"


def degrading(monkeypatch: pytest.MonkeyPatch, needed: int) -> None:
    """An int8 model loses too much until so many layers are left in float32."""

    def evaluate(run: Any, model: Any, exported: Any) -> Evaluated:
        nodes = onnx.load(model.path).graph.node
        in_8_bits = sum(node.op_type == "DequantizeLinear" and node.input[0].startswith("w") for node in nodes)
        kept = 3 - in_8_bits if in_8_bits else 99
        loss = 0.0 if kept >= needed else 0.5
        return Evaluated("accuracy", 1.0, 1.0 - loss, loss, model.file.digest)

    monkeypatch.setattr(onnxpack.pipeline.variants, "evaluate", evaluate)


EVALUATED = {
    "evaluation": {"data": "calibration.npz", "labels": "x", "metric": "mse"},
    "gates": {"max_degradation": 0.01},
}


def test_static_quantization_leaves_its_worst_layers_out_fewest_first(built: Any, monkeypatch: Any) -> None:
    figures(monkeypatch, {"1": 1.5})
    degrading(monkeypatch, 1)
    result, told = built("int8-static", **CALIBRATION, **EVALUATED)
    assert len(result.candidates[1].excluded) == 1
    assert result.evaluation.degradation == 0.0
    assert [line for line in told.lines if line.startswith("precision")] == [
        "precision int8-static", "precision int8-static without 1 layer",
    ]  # fmt: skip


def labelled(folder: Path, wrong: int) -> dict[str, Any]:
    """An evaluation whose labels are what the model of this test answers to 32 rows, but for the first ``wrong``."""
    rows = np.random.default_rng(1).standard_normal((32, WIDTH)).astype(np.float32)
    mlp(folder)
    answers = onnxruntime.InferenceSession(folder / "m.onnx").run(None, {"x": rows})[0].argmax(axis=1)
    answers[:wrong] = (answers[:wrong] + 1) % WIDTH
    np.savez(folder / "evaluation.npz", x=rows, y=answers)
    return {"evaluation": {"data": "evaluation.npz", "labels": "y"}}


def test_a_plain_float32_model_is_held_to_its_own_score(built: Any, tmp_path: Path) -> None:
    evaluation = labelled(tmp_path, wrong=8)
    with pytest.raises(GateError, match=r"float32: accuracy 0\.75, gates\.min_score asks for 0\.8") as caught:
        built("float32", gates={"min_score": 0.8}, **evaluation)
    assert caught.value.problems[0].where.line
    result, _ = built("float32", gates={"min_score": 0.75}, **evaluation)
    assert result.evaluation.model == 0.75


def test_a_targets_own_gate_replaces_the_common_one(built: Any, tmp_path: Path) -> None:
    evaluation = labelled(tmp_path, wrong=8)
    result, _ = built("float32", gates={"min_score": 0.9}, target={"gates": {"min_score": 0.7}}, **evaluation)
    assert result.evaluation.model == 0.75
    with pytest.raises(GateError, match="asks for 0\\.9"):
        built("float32", gates={"min_score": 0.7}, target={"gates": {"min_score": 0.9}}, **evaluation)


def test_static_quantization_that_never_passes_names_the_gate(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    degrading(monkeypatch, 9)
    with pytest.raises(OnnxpackError, match=r"accuracy 0\.5 where the source model has 1") as caught:
        built("int8-static", **CALIBRATION, **EVALUATED)
    assert caught.value.exit_code == 4


def test_no_speed_of_another_kind_of_machine_is_measured(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.pipeline.plan.find_own_platform", lambda: "linux/riscv64")
    result, told = built("float16", gates={"min_speedup": 100.0})
    assert [row.speedup for row in result.candidates] == [None, None]
    assert result.batching is None
    assert [line for line in told.lines if "no speed is measured: this machine is not linux/amd64" in line]


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_what_is_chosen_by_speed_is_chosen_on_such_a_machine(
    built: Any, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    monkeypatch.setattr("onnxpack.pipeline.plan.find_own_platform", lambda: "linux/riscv64")
    with pytest.raises(SpecError, match=f"{objective} on linux/amd64 cannot be measured on this machine"):
        built("auto", target={"objective": objective})
