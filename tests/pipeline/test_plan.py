"""A plan is made of the spec alone."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import FLOAT, RELU, make_model

from onnxpack.bundle.lock import LockedBase
from onnxpack.graph.check import read_facts
from onnxpack.parity.compare import Tolerance
from onnxpack.pipeline import UNTIL
from onnxpack.pipeline.plan import Plan
from onnxpack.targets import Versions, load_device

VERSIONS = Versions({"dev.onnxpack.onnxruntime": "1.31.1"})


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    values = [[(name, FLOAT, ["n", 4])] for name in "xy"]
    onnx.save(make_model(RELU, *values), tmp_path / "m.onnx")

    def make(target: str = "cpu", **fields: Any) -> Plan:
        file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)
        return Plan(file, target, tmp_path / "dist/example/cpu")

    return make


def test_the_tolerance_is_the_specs_and_else_left_to_dtype_and_precision(plan: Any) -> None:
    assert plan().tolerance("float32") == Tolerance(None, None, "float32")
    assert plan(verify={"rtol": 0}).tolerance("float32") == Tolerance(0, None)
    assert plan(verify={"atol": 0.5, "rtol": 0.25}).tolerance("float32") == Tolerance(0.25, 0.5)


def test_the_base_is_the_specs_or_the_devices(plan: Any) -> None:
    assert plan().base == load_device("cpu").base
    assert plan(image={"base": "debian:12"}).base == "debian:12"
    assert plan("gpu", targets={"gpu": {"device": "cuda"}}).device.name == "cuda"


def test_an_image_is_named_by_version_and_by_content(plan: Any) -> None:
    assert plan().tags("1.0", "abcdef" * 10) == ("example:1.0-cpu", "example:abcdefabcdef-cpu")
    assert plan().tags("abcdefabcdef", "abcdef" * 10) == ("example:abcdefabcdef-cpu",)
    named = plan(image={"repository": "example.com:5000/team/model"})
    assert named.tags("1.0", "abcdef" * 10)[0] == "example.com:5000/team/model:1.0-cpu"


def test_result_of_a_shorter_build_is_its_model_or_context(plan: Any) -> None:
    assert [plan().result(stage).name for stage in UNTIL[:5]] == [*["model.onnx"] * 4, "context"]


@pytest.mark.parametrize(
    ("target", "isa"),
    [
        ({}, None),
        ({"platform": "linux/arm64"}, "neon"),
        ({"platform": "linux/arm64", "isa": "neon-i8mm"}, "neon-i8mm"),
        ({"isa": "amx"}, "amx"),
    ],
)
def test_all_machines_of_a_platform_have_its_least_instruction_set(
    plan: Any, target: dict[str, str], isa: str | None
) -> None:
    assert plan(targets={"cpu": target}).isa == isa


@pytest.mark.parametrize(("own", "foreign"), [("linux/arm64", False), ("linux/amd64", True)])
def test_a_target_of_another_kind_of_machine_is_foreign(
    plan: Any, monkeypatch: pytest.MonkeyPatch, own: str, foreign: bool
) -> None:
    monkeypatch.setattr("onnxpack.pipeline.plan.find_own_platform", lambda: own)
    assert plan(targets={"cpu": {"platform": "linux/arm64"}}).foreign is foreign


def test_threads_are_the_targets_then_the_runtimes(plan: Any, tmp_path: Path) -> None:
    usual = plan()
    model = read_facts(tmp_path / "m.onnx")
    assert usual.module_view(model).threads is None
    assert plan(runtime={"threads": 3}).module_view(model).threads == 3
    assert plan(runtime={"threads": 3}, targets={"cpu": {"threads": 2}}).module_view(model).threads == 2


def test_without_a_server_nothing_listens(plan: Any, tmp_path: Path) -> None:
    bare = plan(runtime={"server": "none", "port": 9000})
    model = read_facts(tmp_path / "m.onnx")
    assert bare.ports == bare.docker_view(model, VERSIONS).ports == ()
    assert bare.module_view(model).server == "none"
    assert plan(runtime={"port": 9000}).ports == (9000,)


def test_the_server_is_the_specs(plan: Any, tmp_path: Path) -> None:
    model = read_facts(tmp_path / "m.onnx")
    assert plan().module_view(model).server == "http"
    both = plan(runtime={"server": "http+grpc"})
    assert both.module_view(model).has_grpc
    assert both.docker_view(model, VERSIONS).server == "http+grpc"
    assert both.docker_view(model, VERSIONS).ports == (8080, 8081)


def test_labels_and_environment_are_the_devices_then_the_specs(plan: Any, tmp_path: Path) -> None:
    fields = {"env": {"NVIDIA_VISIBLE_DEVICES": "0"}, "labels": {"team": "risk"}}
    model, cuda = read_facts(tmp_path / "m.onnx"), Versions({"dev.onnxpack.cuda": "13.5"}, {"NVIDIA_REQUIRE_CUDA": "x"})
    view = plan("gpu", targets={"gpu": {"device": "cuda"}}, image=fields).docker_view(model, cuda)
    assert view.env["NVIDIA_VISIBLE_DEVICES"] == "0"
    assert view.env["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert view.labels["team"] == "risk"
    assert view.labels["dev.onnxpack.target"] == "gpu"
    assert view.labels["dev.onnxpack.opset"] == "17"
    assert view.labels["dev.onnxpack.cuda"] == "13.5"
    assert view.env["NVIDIA_REQUIRE_CUDA"] == "x"


def test_a_soak_is_short_unless_a_gate_depends_on_it(plan: Any) -> None:
    fixed = {"inputs": {"x": {"dtype": "float32", "shape": [1, 4]}}, "dynamic_axes": {}}
    assert plan(**fixed).soak_seconds == 0
    assert 0 < plan().soak_seconds < plan(gates={"rss_growth": "1MB"}).soak_seconds
    assert plan(**fixed, gates={"rss_growth": "1MB"}).soak_seconds == plan(gates={"rss_growth": "1MB"}).soak_seconds


def test_nodes_on_the_gpu_are_asked_of_an_image_for_one(plan: Any, tmp_path: Path) -> None:
    targets = {"cpu": {}, "gpu": {"device": "cuda"}}
    model = read_facts(tmp_path / "m.onnx")
    asked = {name: plan(name, targets=targets, gates={"gpu_nodes": 0.9}).module_view(model) for name in targets}
    assert {name: view.gpu_nodes for name, view in asked.items()} == {"cpu": None, "gpu": 0.9}


def test_a_pinned_base_is_what_the_dockerfile_starts_from(plan: Any, tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    view = plan("cpu", image={"base": "python:3.11"}).docker_view(
        read_facts(tmp_path / "m.onnx"), VERSIONS, LockedBase("python:3.11", digest)
    )
    assert view.base == f"python@{digest}"
    assert view.labels["org.opencontainers.image.base.name"] == "python:3.11"
    assert view.labels["org.opencontainers.image.base.digest"] == digest
