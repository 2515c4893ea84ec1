"""The report is JSON with the contract's fields, whatever the build reached."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.engines.docker import Image, Layer
from onnxpack.graph.check import facts
from onnxpack.plan import Plan
from onnxpack.report import Built, StageRecord, parity_of, parity_table, to_json
from onnxpack.smoke import Smoke
from onnxpack.verify import Comparison


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return Plan(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}), "cpu", tmp_path / "dist")


def report(built: Built) -> Any:
    text = to_json(built)
    assert text.endswith("}\n")
    return json.loads(text)


def test_a_build_that_stopped_early_has_nothing_of_the_later_stages(plan: Plan, tmp_path: Path) -> None:
    found = report(Built(plan, (StageRecord("export", 1.5, False, "k"),), facts(tmp_path / "m.onnx")))
    assert (found["name"], found["target"], found["status"]) == ("example", "cpu", "passed")
    assert found["stages"] == [{"name": "export", "seconds": 1.5, "cached": False, "key": "k"}]
    assert found["model"]["opset"] == 17
    assert found["model"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["b", 4]}]
    assert [found[name] for name in ("version", "parity", "image", "smoke")] == [None] * 4


def test_a_whole_build_has_the_contracts_fields(plan: Plan, tmp_path: Path) -> None:
    image = Image("sha256:1", 5, (Layer("sha256:2", 3, "COPY"), Layer("sha256:3", 2, "COPY")), {})
    built = Built(
        plan,
        (),
        facts(tmp_path / "m.onnx"),
        parity_of([Comparison("a", "y", 0.1, 0.2, rtol=1e-3, atol=1e-4)], ("less",)),
        version="1.0",
        image=image,
        references=("example:1.0-cpu", "example:abc-cpu"),
        smoke=Smoke(4, 0.5, 0.25, 0.01, 1000),
    )
    found = report(built)
    assert found["version"] == "1.0"
    measured = {
        "passed": True, "differs": "", "comparisons": 1, "max_abs_diff": 0.1, "max_rel_diff": 0.2,
        "rtol": 1e-3, "atol": 1e-4, "min_cosine": None, "min_sqnr_db": None, "argmax_agreement": None, "ties": 0,
    }  # fmt: skip
    assert found["parity"] == measured | {"outputs": [{"name": "y"} | measured], "notes": ["less"]}
    assert {"reference", "id", "digest", "size_bytes", "layers"} <= set(found["image"])
    assert found["image"]["reference"] == "example:1.0-cpu"
    assert [layer["size_bytes"] for layer in found["image"]["layers"]] == [3, 2]
    assert {"ready_seconds", "first_answer_seconds", "latency_p50_seconds", "peak_rss_bytes"} <= set(found["smoke"])


ROWS = [
    Comparison("a", "y", 0.1, 0.5, "", 0.5, 40.0, 1.0, 0, 1e-3, 1e-4),
    Comparison("b", "y", 0.3, 0.2, "wrong", 0.9, None, 0.75, 0, 1e-5, 1e-2),
    Comparison("a", "label", 0.0, 0.0, ties=2),
    Comparison("b", "label", 0.0, 0.0, ties=1),
]


def test_parity_is_the_greatest_difference_and_the_least_similarity() -> None:
    found = parity_of(ROWS)
    measures = (found.max_abs_diff, found.max_rel_diff, found.min_cosine, found.min_sqnr_db, found.argmax_agreement)
    assert measures == (0.3, 0.5, 0.5, 40.0, 0.75)
    assert (found.passed, found.comparisons, found.ties, found.rtol, found.atol) == (False, 4, 3, 1e-3, 1e-2)
    assert [(row.name, row.passed, row.comparisons, row.ties) for row in found.outputs] == [
        ("y", False, 2, 0),
        ("label", True, 2, 3),
    ]


def test_the_table_has_a_line_for_each_output() -> None:
    assert parity_table(parity_of(ROWS)).splitlines() == [
        "output  compared  max abs  max rel  cosine     SQNR     argmax  ties  rtol   atol   passed",
        "y       2         0.3      0.5      0.5000000  40.0 dB  75.0%   0     0.001  0.01   NO: values",
        "label   2         0        0        -          -        -       3     equal  equal  yes",
    ]
