"""The report is JSON with the contract's fields, whatever the attempt reached."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pytest
from bundle_examples import DOCKERFILES
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack import __version__
from onnxpack.bundle.context import Context
from onnxpack.core.errors import GateError, Location, Problem
from onnxpack.core.values import TensorInfo
from onnxpack.graph.check import read_facts
from onnxpack.image.engine import Image, Layer, Smoke, Soak
from onnxpack.parity.compare import Comparison
from onnxpack.parity.summary import summarize_parity
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import Evaluated, StageRecord
from onnxpack.pipeline.report import Attempt, describe_attempt, describe_failed_attempt, write_report
from onnxpack.pipeline.run import Product
from onnxpack.precision.candidates import Candidate
from onnxpack.reports.page import render_page
from onnxpack.spec.steps import PostprocessStep, PreprocessStep
from onnxpack.targets import Distribution
from onnxpack.timing import BatchGain


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return Plan(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}), "cpu", tmp_path / "dist")


def report(attempt: Attempt) -> Any:
    with TemporaryDirectory() as folder:
        write_report(describe_attempt(attempt), Path(folder))
        assert sorted(path.name for path in Path(folder).iterdir()) == ["report.html", "report.json"]
        text = Path(folder, "report.json").read_text()
        assert Path(folder, "report.html").read_text(encoding="utf-8") == render_page(json.loads(text))
    assert text.endswith("}\n")
    return json.loads(text)


def test_an_attempt_that_stopped_early_has_nothing_of_the_later_stages(plan: Plan, tmp_path: Path) -> None:
    product = Product(model=read_facts(tmp_path / "m.onnx"))
    found = report(Attempt(plan, "export", ("export",), product, (StageRecord("export", 1.5, False, "k"),)))
    assert (found["name"], found["target"], found["status"]) == ("example", "cpu", "passed")
    assert (found["until"], found["chain"]) == ("export", ["export"])
    assert found["stages"] == [{"name": "export", "seconds": 1.5, "cached": False, "key": "k", "of": ""}]
    assert found["model"]["opset"] == 17
    assert found["model"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["b", 4]}]
    assert found["model"]["axes"] == {"n": {"min": 1, "opt": 8, "max": 16}}
    assert found["model"]["nodes"] == {"Relu": 1}
    assert found["model"]["weights"] == {}
    assert found["model"]["digest"] == product.model.file.digest  # type: ignore[union-attr]
    assert [found[name] for name in ("version", "parity", "evaluation", "image", "smoke", "last_good")] == [None] * 6
    assert found["candidates"] == found["packages"] == []
    assert found["serving"] is None


def test_a_whole_attempt_has_the_contracts_fields(plan: Plan, tmp_path: Path) -> None:
    image = Image("sha256:1", 5, (Layer("sha256:2", 3, "COPY"), Layer("sha256:3", 2, "COPY")), {"b": "2", "a": "1"})
    tensors = (TensorInfo("x", "float32", ("n", 4)),)
    product = Product(
        model=replace(read_facts(tmp_path / "m.onnx"), inputs=tensors, outputs=tensors),
        parity=summarize_parity([Comparison("a", "y", 0.1, 0.2, rtol=1e-3, atol=1e-4)], ("less",)),
        candidates=(Candidate("float32", chosen=True), Candidate("int8-dynamic", "too slow", ops={"MatMul": (1, 0)})),
        evaluation=Evaluated("accuracy", 1.0, 0.75, 0.25, "d"),
        context=Context(tmp_path / "context", "c" * 64, "1.0", DOCKERFILES["iris"]),
        image=image,
        references=("example:1.0-cpu", "example:abc-cpu"),
        smoke=Smoke(
            4, 0.5, 0.25, 0.01, 1000, runtime="runc 1.1.5", soak=Soak(900, 9, 4, 11), later_answer_seconds=0.125
        ),
        distributions=(
            Distribution("numpy", "2.4.6", True, "the generated module imports it"),
            Distribution("nvidia-cufft", "12.5", False, "left out: no operator of this model loads cuFFT"),
        ),
        batching=BatchGain(1, 32, 100.0, 250.0, 2.5),
    )
    chain = ("export", "verify", "bundle", "image", "smoke")
    found = report(Attempt(plan, "smoke", chain, product, distributions={"onnx": "1.20.1", "joblib": "1.5"}))
    assert found["version"] == "1.0"
    measured = {
        "passed": True, "differs": "",
        "comparisons": 1, "max_abs_diff": 0.1, "max_rel_diff": 0.2, "rtol": 1e-3, "atol": 1e-4,
        "min_cosine": None, "min_sqnr_db": None, "argmax_agreement": None, "ties": 0,
    }  # fmt: skip
    assert found["parity"] == measured | {"outputs": [{"name": "y"} | measured], "notes": ["less"], "sizes": []}
    assert found["smoke"]["soak"] == {
        "requests": 900, "rss_bytes": 9, "growth_bytes": 4, "peak_rss_bytes": 11,
    }  # fmt: skip
    assert found["packages"][1] == {
        "name": "nvidia-cufft", "version": "12.5", "kept": False,
        "reason": "left out: no operator of this model loads cuFFT",
    }  # fmt: skip
    assert found["batching"] == {
        "request_rows": 1, "batch_rows": 32, "request_rows_per_second": 100.0, "batch_rows_per_second": 250.0,
        "gain": 2.5,
    }  # fmt: skip
    assert found["evaluation"] == {
        "metric": "accuracy", "source": 1.0, "model": 0.75, "degradation": 0.25, "model_digest": "d",
    }  # fmt: skip
    assert [(row["precision"], row["passed"], row["chosen"], row["reason"]) for row in found["candidates"]] == [
        ("float32", True, True, ""),
        ("int8-dynamic", False, False, "too slow"),
    ]
    assert found["candidates"][1]["ops"] == {"MatMul": [1, 0]}
    assert {"reference", "id", "digest", "size_bytes", "layers"} <= set(found["image"])
    assert found["image"]["reference"] == "example:1.0-cpu"
    assert found["image"]["references"] == ["example:1.0-cpu", "example:abc-cpu"]
    assert [layer["size_bytes"] for layer in found["image"]["layers"]] == [3, 2]
    assert {"ready_seconds", "first_answer_seconds", "latency_p50_seconds", "peak_rss_bytes"} <= set(found["smoke"])
    assert found["image"]["labels"] == {"a": "1", "b": "2"}
    assert found["serving"].pop("request")["inputs"][0]["shape"] == [1, 4]
    assert found["serving"] == {
        "image": "example:1.0-cpu", "ports": [8080], "gpu": False, "server": "http", "device": "cpu",
        "platform": "linux/amd64", "isa": None, "threads": None, "workers": 1, "drain_seconds": 8.0,
        "max_body_bytes": 68608, "max_batch_size": None, "max_queue_delay_seconds": 0.0, "other_targets": [],
        "picture": None,
    }  # fmt: skip
    assert found["tools"]["onnxpack"] == __version__
    assert list(found["tools"]["distributions"].items()) == [("joblib", "1.5"), ("onnx", "1.20.1")]
    assert found["smoke"]["first_answer"] == 2.0
    assert found["smoke"]["runtime"] == "runc 1.1.5"


def test_a_failed_attempt_tells_where_and_why(plan: Plan, tmp_path: Path) -> None:
    error = GateError([Problem("too large", "prune it", Location("spec.yaml", 3, 4), "a\nb"), Problem("and wrong")])
    attempt = Attempt(
        plan, "smoke", ("export", "verify"), Product(), failed_stage="verify", error=error, last_good=tmp_path / "last"
    )
    found = report(attempt)
    assert (found["status"], found["stage"], found["exit_code"]) == ("failed", "verify", 4)
    assert found["problems"] == [
        {
            "message": "too large",
            "hint": "prune it",
            "where": {"file": "spec.yaml", "line": 3, "column": 4},
            "detail": "a\nb",
        },
        {"message": "and wrong", "hint": "", "where": None, "detail": ""},
    ]
    assert found["last_good"] == str(tmp_path / "last")
    assert found["model"] is None


def test_a_report_has_the_gates_that_are_set(tmp_path: Path) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    gates: dict[str, Any] = {
        "gates": {"image_size": "1MB", "cold_start": "2s"},
        "targets": {"cpu": {"gates": {"cold_start": "1s"}}},
    }
    file = write_spec(
        tmp_path, {"framework": "onnx", "path": "m.onnx"}, description="Less than nothing is nothing", **gates
    )
    found = report(Attempt(Plan(file, "cpu", tmp_path / "dist"), "smoke", (), Product()))
    assert found["gates"] == {"image_size": 1_000_000, "cold_start": 1.0}
    assert found["description"] == "Less than nothing is nothing"


def test_a_full_disk_is_told_as_what_a_person_can_mend(plan: Plan) -> None:
    found = report(
        Attempt(plan, "smoke", (), Product(), failed_stage="output", error=OSError(28, "No space left", "/x"))
    )
    assert (found["status"], found["exit_code"]) == ("failed", 5)
    assert found["problems"][0]["message"] == "No space left '/x'"


def test_an_attempt_that_passed_tells_of_no_failure(plan: Plan) -> None:
    assert not {"stage", "exit_code", "problems"} & set(describe_attempt(Attempt(plan, "verify", (), Product())))


def test_the_spec_is_named_from_the_reports_own_place(plan: Plan) -> None:
    """So that a folder that was moved as a whole still shows where its spec is."""
    found = report(Attempt(plan, "verify", (), Product()))
    assert (plan.output / found["spec"]).resolve() == plan.file.path


def test_a_spec_that_cannot_be_read_has_a_report_of_the_same_fields(plan: Plan) -> None:
    error = GateError("no")
    found = describe_failed_attempt("../spec.yaml", "spec", error)
    whole = describe_attempt(Attempt(plan, "verify", (), Product(), failed_stage="spec", error=error))
    assert set(found) <= set(whole)
    assert (found["status"], found["stage"], found["problems"]) == ("failed", "spec", whole["problems"])


def test_what_clients_send_and_get_is_told_where_the_image_makes_it(plan: Plan, tmp_path: Path) -> None:
    spec = plan.file.spec
    product = Product(model=read_facts(tmp_path / "m.onnx"))
    assert report(Attempt(plan, "export", (), product))["client"] is None
    steps = (PreprocessStep("tokenize", "text", tokenizer="tokenizer.json", ids="x"),)
    decode = PostprocessStep("decode", "y", kind="entities", labels="labels.txt")
    file = replace(plan.file, spec=replace(spec, preprocess=steps, postprocess=(decode,)))
    found = report(Attempt(replace(plan, file=file), "export", (), product))
    assert found["client"]["inputs"] == [{"name": "text", "dtype": "string", "shape": ["n"]}]
    assert found["client"]["outputs"] == [{"name": "entities", "dtype": "string", "shape": ["b"]}]
    assert found["model"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["b", 4]}]
    assert "A client gets" in render_page(found)
