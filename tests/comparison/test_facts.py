"""Facts of all kinds have one form, and what a side does not know is not there."""

import json
from pathlib import Path
from typing import Any

import pytest

from onnxpack.bundle.lock import Lock, LockedBase, Package, Pins, TargetLock
from onnxpack.comparison.facts import (
    read_bundle_facts,
    read_image_facts,
    read_report_facts,
    read_spec_facts,
)
from onnxpack.spec.load import load_alone

REPORT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/report/full.json").read_text())
FAILED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/report/failed.json").read_text())
SPEC = """\
onnxpack: 1
name: small
version: "2"
model: {framework: onnx, path: model.onnx}
inputs: {x: {dtype: float32, shape: [n, 4]}}
outputs: [y]
dynamic_axes: {n: {min: 1, max: 16}}
opset: 17
gates: {image_size: 1MB}
targets: {cpu: {device: cpu, gates: {latency_p50: 5ms}}, fast: {device: cpu, precision: auto}}
"""


def test_a_report_tells_everything_but_its_spec() -> None:
    facts = read_report_facts(REPORT, "report", "r")
    assert facts.title == "scans 1.0.0 cpu"
    assert facts.signature == REPORT["model"]
    assert facts.sections["model"]["opset"] == 17
    assert facts.sections["operators"]["Softmax"] == 1
    assert facts.sections["score"] == {"accuracy": 0.9822222222222222, "accuracy of the source": 0.9822222222222222}
    assert facts.sections["base"]["python"] == "3.11.2"
    assert facts.sections["packages"]["numpy"] == "2.4.6"
    assert facts.sections["layers"]["3 COPY rootfs/model/ /"].endswith(", 489.1 kB")  # type: ignore[union-attr]
    assert facts.sections["load"]["32 clients p99_seconds"] == pytest.approx(0.0242, rel=0.01)
    assert facts.sections["build"] == {"status": "passed"}
    assert {"dev.onnxpack.opset", "dev.onnxpack.content"} & set(facts.sections["labels"]) == {"dev.onnxpack.content"}
    assert "spec" not in facts.sections


def test_what_a_build_did_not_reach_is_not_known() -> None:
    facts = read_report_facts(FAILED, "report", "r")
    assert facts.sections["build"] == {"status": "failed", "stage": "image/smoke"}
    assert not {"image", "layers", "labels", "base", "speed", "load", "score"} & set(facts.sections)
    assert facts.sections["gates"] == {"image_size": 50_000_000}


@pytest.mark.parametrize(
    "part", ["model", "image", "packages", "parity", "smoke", "evaluation", "tools", "gates", "labels"]
)
@pytest.mark.parametrize("value", [5, "x", [5], {"layers": 5}])
def test_what_no_build_writes_is_refused_or_harmless(part: str, value: Any) -> None:
    report = REPORT | {part: value}
    try:
        facts = read_report_facts(report, "report", "r")
    except (LookupError, TypeError, ValueError, AttributeError):
        return
    assert all(isinstance(section, dict) for section in facts.sections.values())


def test_an_image_tells_what_its_labels_say() -> None:
    labels = REPORT["image"]["labels"]
    image = {"id": "sha256:1", "digests": [], "size_bytes": 5, "platform": "linux/amd64", "labels": labels,
             "layers": REPORT["image"]["layers"]}  # fmt: skip
    facts = read_image_facts(image, "archive", "i.tar")
    assert facts.title == "scans 1.0.0 cpu"
    assert facts.sections["model"] == {
        "opset": 17, "precision": "int8-dynamic", "sha256": REPORT["model"]["sha256"],
    }  # fmt: skip
    assert facts.sections["image"] == {"size_bytes": 5, "platform": "linux/amd64", "digest": "sha256:1"}
    assert read_image_facts(image, "image", "i").sections["image"].get("digest") is None
    named = image | {"digests": ["r.io/scans@sha256:2"]}
    assert read_image_facts(named, "image", "i").sections["image"]["digest"] == "sha256:2"
    foreign = read_image_facts(image | {"labels": {}}, "image", "i")
    assert foreign.title == ""
    assert set(foreign.sections) == {"image", "layers", "labels"}


def test_a_bundle_without_a_report_tells_what_is_in_it() -> None:
    docker = {"base": "debian@sha256:1", "labels": {"org.opencontainers.image.title": "iris", "a": "b"}}
    model = {"opset": 17, "ops": {"Relu": 1}, "weights": {"float32": 8}, "inputs": [], "outputs": []}
    packages = [{"name": "NumPy", "version": "2"}]
    facts = read_bundle_facts({"dockerfile": docker, "model": model, "packages": packages}, "b")
    assert facts.sections["packages"] == {"numpy": "2"}
    assert facts.sections["weights"] == {"float32_bytes": 8}
    assert facts.sections["base"] == {"reference": "debian@sha256:1"}
    assert read_bundle_facts({"dockerfile": None, "model": None, "packages": []}, "b").sections == {}


def test_a_spec_tells_its_fields_and_its_lock_the_rest(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    spec = load_alone(tmp_path / "spec.yaml", tmp_path)
    entry = TargetLock(
        "3.11", "linux/amd64", (), (Package("numpy", "2.4.6", ("a" * 64,)),), LockedBase("b", "sha256:c")
    )
    lock = Lock({"cpu": entry}, Pins({"model.onnx": "d"}, {"onnx": "1"}))
    facts = read_spec_facts(spec, "cpu", lock, "s")
    assert facts.title == "small 2 cpu"
    assert facts.sections["model"] == {"opset": 17, "precision": "float32"}
    assert facts.sections["gates"] == {"image_size": 1_000_000, "latency_p50": 0.005}
    assert facts.sections["packages"] == {"numpy": "2.4.6"}
    assert facts.sections["base"]["digest"] == "sha256:c"
    assert (facts.sections["files"], facts.sections["tools"]) == ({"model.onnx": "d"}, {"onnx": "1"})
    assert facts.sections["spec"]["inputs.x.shape"] == '["n", 4]'
    assert facts.signature["outputs"] == [{"name": "y"}]
    alone = read_spec_facts(spec, "fast", None, "s")
    assert alone.sections["model"] == {"opset": 17}
    assert not {"packages", "files", "tools"} & set(alone.sections)
