"""The page of the seeds tells of the jobs that there are, and each job's spec is one."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "examples/seeds"


def test_the_table_has_every_job_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    titles = runpy.run_path(str(ROOT / "scripts/seeds"))["read_titles"]()
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", (ROOT / "docs/seeds.md").read_text(), re.MULTILINE)
    assert dict(rows) == titles
    assert list(titles) == list("12345678")


def test_every_spec_is_used_by_a_job() -> None:
    jobs = (SEEDS / "jobs.py").read_text()
    names = {path.name for path in SEEDS.glob("*.yaml")}
    assert set(re.findall(r'HERE / "([\w-]+\.yaml)"', jobs)) == names
    assert all(yaml.safe_load((SEEDS / name).read_text())["onnxpack"] == 1 for name in names)
