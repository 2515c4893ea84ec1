"""An image with steps around its model and 8 bits in it: what a client sends and gets, and what its gates refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_tools import ASK, Built, Workshop, box, failed_stages, fails, without_leftovers


@pytest.fixture(scope="session")
def spec(workshop: Workshop, engine: Any) -> Path:
    """The example beside the one whose network it uses, in one Git work tree."""
    place = "scanning"
    workshop.copy("digits", place)
    (workshop.root / place / ".git").mkdir()
    return workshop.copy("scans", place)


@pytest.fixture(scope="session")
def scans(spec: Path, workshop: Workshop) -> Built:
    return workshop.build(spec, workshop.root / "dist")


def test_the_model_is_smaller_and_as_good(scans: Built) -> None:
    report = scans.report
    assert report["model"]["precision"] == "int8-static"
    base, found = report["candidates"]
    assert found["size_bytes"] < 0.5 * base["size_bytes"]
    assert (base["precision"], found["chosen"], found["passed"]) == ("float32", True, True)
    assert report["evaluation"]["metric"] == "accuracy"
    assert report["evaluation"]["source"] > 0.97
    assert report["evaluation"]["degradation"] <= 0.005
    assert report["smoke"]["latency_p50_seconds"] > 0


def test_a_client_sends_bytes_and_gets_words(scans: Built, spec: Path, engine: Any) -> None:
    with np.load(spec.parent / "data" / "evaluation.npz") as data:
        images, digits = data["image"][:32], data["digit"][:32]
    words = (spec.parent / "words.txt").read_text().split()
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    with box(engine, scans.reference) as server:
        answer = json.loads(server.ready().python(ASK, "/v2/models/scans/infer", json.dumps({"inputs": [tensor]})))
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert list(outputs) == ["log_probabilities", "probabilities", "word"]
    assert outputs["word"]["datatype"] == "BYTES"
    right = sum(word == words[digit] for word, digit in zip(outputs["word"]["data"], digits, strict=True))
    assert right >= 30
    rows = np.reshape(outputs["probabilities"]["data"], outputs["probabilities"]["shape"])
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("gates.image_size=1MB", "the image has "),
        ("gates.cold_start=1ms", "gates.cold_start allows 1.00 ms"),
        ("gates.latency_p50=0.001ms", "gates.latency_p50 allows 1.00 µs"),
        ("gates.peak_memory=1MB", "gates.peak_memory allows 1.0 MB"),
        ("gates.min_speedup=900", "gates.min_speedup asks for 900"),
    ],
)
def test_a_broken_gate_leaves_its_report_alone(
    scans: Built, spec: Path, workshop: Workshop, engine: Any, gate: str, words: str
) -> None:
    before = without_leftovers(engine, workshop.token)
    output = workshop.root / "gated"
    result = workshop.run("build", spec, "--output", output, "--set", gate)
    fails(result, 4, words)
    assert len(failed_stages(output)) == 1
    assert without_leftovers(engine, workshop.token) == before
