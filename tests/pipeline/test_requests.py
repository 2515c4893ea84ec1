"""Requests become plain values, without what is too long to be compared, and with the files that they name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest_file
from onnxpack.pipeline.requests import Reads, describe_request
from onnxpack.spec.load import load
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Effort


@dataclass(frozen=True)
class Request:
    value: Any


def test_a_request_is_told_as_plain_values(tmp_path: Path) -> None:
    model = Artifact(tmp_path / "model.onnx", "f" * 64)
    asked = Request((1, 0.5, None, "text", Request({"a": True}), model, Effort(3.0)))
    found = describe_request(asked)
    assert found.tree == {"value": [1, 0.5, None, "text", {"value": {"a": True}}, {"digest": "f" * 64}, None]}
    assert found.artifacts == [tmp_path / "model.onnx"]


def test_bytes_are_told_by_their_digest_and_a_folder_of_them_by_one() -> None:
    one, other = (describe_request(Request(value)).tree["value"] for value in (b"a", {"a": b"a", "b": b"b"}))
    assert one.keys() == other.keys() == {"digest"}
    assert describe_request(Request({"a": b"a", "b": b"c"})).tree["value"] != other


def test_a_part_of_a_spec_tells_its_fields_and_the_digests_of_its_files(project: Path) -> None:
    found = describe_request(SpecPart.of(load(project / "spec.yaml"), "model"))
    model = digest_file(project / "model.onnx")
    assert found.tree["spec"]["model"] == {"framework": "onnx", "path": "model.onnx"}
    assert found.tree["files"] == {"model.onnx": model}
    assert found.files == {str(project / "model.onnx"): model}


def test_a_file_that_was_read_with_two_contents_lets_nothing_last(tmp_path: Path) -> None:
    read = Reads()
    read.note_file(tmp_path / "a", "1")
    read.note_file(tmp_path / "a", "1")
    assert read.lasting
    read.note_file(tmp_path / "a", "2")
    assert not read.lasting


@pytest.mark.parametrize("text", ["other", None])
def test_a_file_whose_state_changed_while_it_was_read_lets_nothing_last(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "a"
    path.write_text("first")
    read = Reads()
    read.note_state(path)
    read.note_state(path)
    assert read.lasting
    path.write_text(text) if text else path.unlink()
    read.note_state(path)
    assert not read.lasting
