"""Rows of a fleet, for what tells of them: one of each state, and hostile ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem
from onnxpack.fleet.job import Outcome
from onnxpack.fleet.rows import Row

HOSTILE = "evil\n::add-mask::x\r]]>\x1b[31m</td>|`<script>`\x00%0A**\ufffe"


def make_document(**changes: Any) -> dict[str, Any]:
    return {
        "status": "passed",
        "stages": [
            {"name": "export", "seconds": 1.25, "cached": False, "key": "k", "of": ""},
            {"name": "measure", "seconds": 0.0, "cached": True, "key": "k", "of": "2 models"},
        ],
        "model": {"size_bytes": 21_200},
        "image": {"reference": "iris:1-cpu", "size_bytes": 93_700_000},
        **changes,
    }


def make_failure(*problems: Problem, stage: str = "verify", code: int = 4) -> dict[str, Any]:
    told = [asdict(problem) for problem in problems]
    return {"status": "failed", "stage": stage, "exit_code": code, "problems": told, "stages": []}


def make_rows(spec: Path = Path("specs/iris/spec.yaml")) -> list[Row]:
    wrong = Problem("answers differ", "raise `verify.atol`", Location(str(spec), 7, 3), "case  diff\na     0.1")
    broken = [Problem("no such field 'modle'", "did you mean 'model'?", Location("specs/b.yaml", 3, 1)), Problem("x")]
    return [
        Row(spec, "iris", "cpu", Outcome(0, "built", make_document(), "iris:1-cpu", seconds=12.34, peak_bytes=10**9)),
        Row(spec, "iris", "gpu", Outcome(1, "failed", make_failure(wrong), seconds=3.0)),
        Row(Path("specs/a.yaml"), "a", "cpu", Outcome(2, "unchanged", make_document(), "iris:1-cpu")),
        Row(Path("specs/b.yaml"), outcome=Outcome(3, "failed", make_failure(*broken, stage="spec", code=2))),
        Row(Path("specs/c.yaml"), "c", "cpu", Outcome(4, "cancelled", {"status": "cancelled"})),
    ]


def make_hostile_rows() -> list[Row]:
    problem = Problem(HOSTILE, HOSTILE, Location(HOSTILE, 2, 5), HOSTILE)
    image = make_document(image={"reference": HOSTILE, "size_bytes": 1})
    return [
        Row(Path("s,p:e%c.yaml"), HOSTILE, HOSTILE, Outcome(0, "failed", make_failure(problem, stage=HOSTILE))),
        Row(Path(HOSTILE.replace("\x00", "")), HOSTILE, "t", Outcome(1, "built", image, HOSTILE, seconds=1.0)),
    ]
