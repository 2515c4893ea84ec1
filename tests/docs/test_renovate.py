"""The preset for Renovate: its expressions find in specs and locks what this package reads there, and nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxpack.bundle import lock
from onnxpack.spec.load import load

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "renovate").glob("*.json"))
LOCKS = sorted(ROOT.glob("specs/*/spec.lock"))
SPEC_BASE, LOCK_BASE, PACKAGE = json.loads((ROOT / "renovate/default.json").read_text())["customManagers"]
SHA = f"sha256:{'0123456789abcdef' * 4}"


def find(manager: dict[str, Any], text: str) -> list[dict[str, str | None]]:
    """Return what Renovate would find: with the strategy `recursive`, in what the expression before matched."""
    # Python spells named groups in its own way.
    texts = [text]
    *outer, last = (re.compile(one.replace("(?<", "(?P<")) for one in manager["matchStrings"])
    for expression in outer:
        texts = [match[0] for one in texts for match in expression.finditer(one)]
    return [match.groupdict() for one in texts for match in last.finditer(one)]


def is_for(manager: dict[str, Any], path: str) -> bool:
    return any(re.search(pattern.strip("/"), path) for pattern in manager["managerFilePatterns"])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.name)
def test_the_presets_fit_the_schema_of_renovate(preset: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.renovate", str(preset)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def _expressions() -> Iterator[str]:
    for manager in (SPEC_BASE, LOCK_BASE, PACKAGE):
        yield from manager["matchStrings"]


def test_the_expressions_are_such_as_renovate_takes() -> None:
    for text in _expressions():
        # RE2 has neither looking around nor references.
        assert not re.search(r"\(\?(?:[=!]|<[=!])|\\[1-9]", text), text


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_the_packages_of_every_example_lock_are_found(path: Path) -> None:
    expected = [(one.name, one.version) for entry in lock.read(path).values() for one in entry.packages]
    found = [(one["depName"], one["currentValue"]) for one in find(PACKAGE, path.read_text())]
    assert found == expected
    assert len(expected) >= 4
    assert is_for(PACKAGE, "specs/iris/spec.lock")
    assert not find(LOCK_BASE, path.read_text()), "these are not pinned"


BASES = {
    "python:3.11-slim": ("python", "3.11-slim"),
    "gcr.io/distroless/python3-debian12": ("gcr.io/distroless/python3-debian12", None),
    "localhost:5000/a/base_image:v1": ("localhost:5000/a/base_image", "v1"),
    "localhost:5000/python": ("localhost:5000/python", None),
}


@pytest.mark.parametrize("reference", BASES)
def test_the_base_of_a_lock_is_found(tmp_path: Path, reference: str) -> None:
    entries = lock.read(LOCKS[0])
    base = lock.LockedBase(reference, SHA)
    lock.write(tmp_path / "spec.lock", {name: replace(entry, base=base) for name, entry in entries.items()})
    (found,) = find(LOCK_BASE, (tmp_path / "spec.lock").read_text())
    name, tag = BASES[reference]
    assert found == {"depName": name, "currentValue": tag, "currentDigest": SHA}


@pytest.mark.parametrize("form", ["block", "flow", "quoted"])
@pytest.mark.parametrize("reference", [*(one for one in BASES if BASES[one][1]), f"python:3.12@{SHA}"])
def test_the_base_of_a_spec_is_found(tmp_path: Path, reference: str, form: str) -> None:
    lines = {
        "block": f"image:\n  python: '3.11'\n  base: {reference}\n",
        "flow": f"image: {{python: '3.11', base: {reference!r}}}\n",
        "quoted": f'image:\n    base: "{reference}" # ours\n',
    }
    text = (ROOT / "specs/iris/spec.yaml").read_text() + lines[form]
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    (tmp_path / "iris.joblib").write_bytes((ROOT / "specs/iris/iris.joblib").read_bytes())
    assert load(path).spec.image.base == reference
    (found,) = find(SPEC_BASE, text)
    name, _, digest = reference.partition("@")
    assert f"{found['depName']}:{found['currentValue']}" == name
    assert (found["currentDigest"] or "") == digest
    assert is_for(SPEC_BASE, "models/a/spec.yml")


def test_nothing_is_found_in_other_files() -> None:
    others = [
        *ROOT.glob("specs/*/spec.yaml"), *ROOT.glob("*.yaml"), *ROOT.glob("*.yml"), *ROOT.glob("*.lock"),
        *ROOT.glob("tests/**/*.lock"), *ROOT.glob("docs/*.json"),
    ]  # fmt: skip
    assert len(others) > 14
    for path in others:
        text = path.read_text()
        assert [manager["description"] for manager in (SPEC_BASE, LOCK_BASE, PACKAGE) if find(manager, text)] == [], (
            path
        )
    assert not find(SPEC_BASE, "services:\n  base: python:3.11\n"), "a file that is no spec"


def test_a_version_that_renovate_writes_is_read_as_an_upgrade(tmp_path: Path) -> None:
    from onnxpack.pipeline.lock import undo_edits

    text = LOCKS[0].read_text()
    first = find(PACKAGE, text)[0]
    path = tmp_path / "spec.lock"
    path.write_text(text.replace(f'"version": "{first["currentValue"]}"', '"version": "99.1"'))
    before, names = undo_edits(lock.read_lock(path))
    assert names == {first["depName"]}
    assert before.targets == lock.read(LOCKS[0])
