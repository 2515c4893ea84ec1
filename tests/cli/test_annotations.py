"""``validate`` for machines: JSON, GitHub's workflow commands, SARIF."""

import json
from pathlib import Path

from onnxpack.cli.annotations import as_github, as_json, as_sarif
from onnxpack.core.errors import Location, Problem

GOOD = Path("good/spec.yaml")
BAD = Path("bad/spec.yaml")
RESULTS = [
    (GOOD, ()),
    (
        BAD,
        (
            Problem("first,\nsecond: 100%", "mend it", Location("bad/spec.yaml", 3, 7)),
            Problem("from a setting", "", Location("--set a.b=c")),
            Problem("nowhere"),
        ),
    ),
]


def test_json_has_every_spec() -> None:
    good, bad = json.loads(as_json(RESULTS))
    assert good == {"spec": "good/spec.yaml", "valid": True, "problems": []}
    assert not bad["valid"]
    assert bad["problems"][0]["where"] == {"file": "bad/spec.yaml", "line": 3, "column": 7}


def test_github_has_one_escaped_line_a_problem() -> None:
    assert as_github(RESULTS).splitlines() == [
        "::error file=bad/spec.yaml,line=3,col=7,title=onnxpack::first,%0Asecond: 100%25 (mend it)",
        "::error file=bad/spec.yaml,title=onnxpack::from a setting",
        "::error file=bad/spec.yaml,title=onnxpack::nowhere",
    ]
    assert as_github(RESULTS[:1]) == ""


def test_sarif_points_into_the_file() -> None:
    log = json.loads(as_sarif(RESULTS))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "onnxpack"
    first, second, third = run["results"]
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "bad/spec.yaml"}, "region": {"startLine": 3, "startColumn": 7}}
    assert "region" not in second["locations"][0]["physicalLocation"]
    assert third["message"]["text"] == "nowhere"
    assert {result["ruleId"] for result in run["results"]} <= {rule["id"] for rule in run["tool"]["driver"]["rules"]}
