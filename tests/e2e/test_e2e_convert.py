"""Real conversions, in the converter's real environment, by the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from e2e_tools import Workshop, fails


@pytest.fixture(scope="session")
def folder(workshop: Workshop) -> Path:
    """The digits network and the one on transactions, as ONNX files."""
    place = workshop.root / "converting"
    for example in ("digits", "transactions"):
        spec = workshop.copy(example, "converting")
        assert workshop.run("build", spec, "--until", "verify", "--output", place).code == 0
    return place


@pytest.mark.parametrize("kind", ["savedmodel", "tflite"])
def test_a_network_becomes_tensorflows(workshop: Workshop, folder: Path, kind: str) -> None:
    output = folder / f"digits-{kind}"
    result = workshop.run(
        "convert", folder / "digits/cpu.verify/model.onnx", "--to", kind, "--output", output, "--json"
    )
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    assert (found["comparisons"], found["fixed"]) == (2, {})
    assert found["max_abs_diff"] < 1e-4
    assert (output / "saved_model.pb").exists() if kind == "savedmodel" else output.stat().st_size > 50_000


def test_a_file_that_is_no_model_is_refused(workshop: Workshop, folder: Path) -> None:
    (folder / "broken.onnx").write_bytes(b"\x08\x07broken")
    fails(workshop.run("convert", folder / "broken.onnx", "--to", "tflite"), 3)
    assert not (folder / "broken.tflite").exists()
