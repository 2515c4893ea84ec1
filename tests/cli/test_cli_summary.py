"""The last lines of a build: the figures, and commands that can be copied."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from bundle_examples import DOCKERFILES
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.bundle.context import Context
from onnxpack.cli.summary import summarize
from onnxpack.graph.check import read_facts
from onnxpack.image.engine import Image, Layer, Smoke, Soak
from onnxpack.parity.compare import Comparison
from onnxpack.parity.summary import summarize_parity
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.report import Attempt
from onnxpack.pipeline.run import Product
from onnxpack.targets import Distribution

BASE = Image("sha256:0", 40_000_000, (Layer("sha256:a", 40_000_000, "base"),), {})
IMAGE = replace(
    BASE, id="sha256:1", size_bytes=121_500_000,
    layers=(*BASE.layers, Layer("sha256:b", 81_000_000, "COPY"), Layer("sha256:c", 500_000, "COPY")),
)  # fmt: skip


def make_attempt(folder: Path, until: str = "smoke", **fields: Any) -> Attempt:
    onnx.save(make_model(RELU), folder / "m.onnx")
    axes = {"inputs": {"x": {"dtype": "float32", "shape": ["b", 4]}}, "dynamic_axes": {"b": {"min": 1, "max": 16}}}
    file = write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **(axes | fields))
    plan = Plan(file, "cpu", folder / "dist")
    product = Product(
        model=read_facts(folder / "m.onnx"),
        parity=summarize_parity([Comparison("a", "y", 4.2e-7, 1e-6), Comparison("b", "y", 0.0, 0.0)]),
        context=Context(folder / "dist/context", "c" * 64, "1.0", DOCKERFILES["iris"]),
        base=BASE,
        image=IMAGE,
        references=("example:1.0-cpu", "example:cccccccccccc-cpu"),
        smoke=Smoke(4, 1.328, 1.4, 0.00031, 73_000_000, runtime="runc 1.1.5", soak=Soak(900, 9, 4_200_000, 9)),
    )
    return Attempt(plan, until, ("export",), product)


def test_the_summary_of_an_image_has_its_figures_and_commands(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    size = attempt.product.model.size_bytes if attempt.product.model else 0
    *rows, run, ask = (line.strip() for line in summarize(attempt, 16.94))
    assert [row.split("  ")[0] for row in rows] == ["image", "size", "model", "parity", "smoke test", "time"]
    assert [row.split("  ", 1)[1].strip() for row in rows] == [
        "example:1.0-cpu, example:cccccccccccc-cpu",
        f"121.5 MB, 81.5 MB of it on the base {attempt.plan.base}",
        f"opset 17, float32, {size} B",
        "2 comparisons within tolerance: max abs 4.2e-07, max rel 1e-06",
        "in runc 1.1.5: ready after 1.33 s, first answer after 1.40 s, median request 310 µs, peak memory 73.0 MB, "
        "growth 4.2 MB in 900 requests",
        "16.9 s",
    ]
    assert run == "docker run --rm --read-only -p 8080:8080 example:1.0-cpu"
    command = shlex.split(ask)
    assert command[:3] == ["curl", "-s", "localhost:8080/v2/models/example/infer"]
    (tensor,) = json.loads(command[-1])["inputs"]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("x", [1, 4], "FP32")
    assert len(tensor["data"][0]) == 4


def test_the_summary_of_a_context_says_how_its_image_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    attempt = make_attempt(tmp_path, "bundle")
    attempt = replace(attempt, product=replace(attempt.product, image=None, references=(), smoke=None))
    lines = [line.strip() for line in summarize(attempt, 1.0)]
    assert lines[0].split() == ["context", "dist/context"]
    assert lines[-3:-1] == [
        "docker build -t example:1.0-cpu dist/context",
        "docker run --rm --read-only -p 8080:8080 example:1.0-cpu",
    ]


def test_the_summary_of_a_model_has_no_commands(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path, "verify")
    product = Product(model=attempt.product.model, parity=attempt.product.parity)
    lines = [line.strip() for line in summarize(replace(attempt, product=product), 1.0)]
    assert [line.split("  ")[0] for line in lines] == ["model file", "model", "parity", "time"]


def test_the_summary_shows_the_score_beside_the_sources(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    scored = Evaluated("accuracy", 0.978, 0.9704321, 0.0075679)
    lines = summarize(replace(attempt, product=replace(attempt.product, evaluation=scored)), 1.0)
    assert "score accuracy 0.970432; the source model has 0.978" in [" ".join(line.split()) for line in lines]


def test_a_cuda_image_runs_with_the_gpus(tmp_path: Path) -> None:
    lines = summarize(make_attempt(tmp_path, targets={"cpu": {"device": "cuda"}}), 1.0)
    assert lines[-2].strip() == "docker run --rm --read-only --gpus all -p 8080:8080 example:1.0-cpu"


def test_packages_that_the_model_does_not_need_are_named(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    rows = (
        Distribution("numpy", "2", True, "x"),
        Distribution("cufft", "1", False, "y"),
        Distribution("b", "1", False, ""),
    )
    lines = summarize(replace(attempt, product=replace(attempt.product, distributions=rows)), 1.0)
    assert [line.split("  ")[-1] for line in lines if "left out" in line] == ["cufft, b: this model needs none of it"]


def test_an_image_with_grpc_publishes_both_ports(tmp_path: Path) -> None:
    lines = summarize(make_attempt(tmp_path, runtime={"server": "http+grpc"}), 1.0)
    assert lines[-2].strip() == "docker run --rm --read-only -p 8080:8080 -p 8081:8081 example:1.0-cpu"


def test_an_image_without_a_server_reads_a_file(tmp_path: Path) -> None:
    lines = summarize(make_attempt(tmp_path, runtime={"server": "none"}), 1.0)
    assert lines[-1].strip() == 'docker run --rm --read-only -v "$PWD:/data" example:1.0-cpu --input /data/x.npz'


def test_a_large_input_is_asked_about_instead_of_sent(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    spec = attempt.plan.file.spec
    spec = replace(spec, inputs={"x": replace(spec.inputs["x"], shape=("b", 3, 224, 224))})
    plan = replace(attempt.plan, file=replace(attempt.plan.file, spec=spec))
    assert summarize(replace(attempt, plan=plan), 1.0)[-1].strip() == "curl -s localhost:8080/v2/models/example"
