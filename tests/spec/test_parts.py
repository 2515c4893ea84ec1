import json
from pathlib import Path

import pytest

from onnxpack.spec.parts import list_folder_parts, list_parts, name_folder_parts

NAMES = ("config.json", "m.safetensors.index.json")


def write_index(place: Path, *shards: str) -> None:
    place.write_text(json.dumps({"weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}}))


def test_an_index_has_its_shards_and_a_saved_model_its_folder(tmp_path: Path) -> None:
    write_index(tmp_path / "m.safetensors.index.json", "b", "a", "a", "gone")
    for name in ("a", "b", "saved_model.pb", "variables"):
        (tmp_path / name).write_text("")
    assert [path.name for path in list_parts(tmp_path / "m.safetensors.index.json")] == ["a", "b"]
    assert [path.name for path in list_parts(tmp_path / "saved_model.pb")] == [
        "a", "b", "m.safetensors.index.json", "variables"
    ]  # fmt: skip
    assert list_parts(tmp_path / "a") == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 7}', '{"weight_map": {"w": 7}}', "[" * 100_000])
def test_what_is_no_index_has_no_shards(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.index.json").write_text(text)
    assert list_parts(tmp_path / "m.index.json") == []


def test_a_folder_has_files_of_its_names_there_or_not_and_their_shards(tmp_path: Path) -> None:
    write_index(tmp_path / NAMES[1], "1.safetensors")
    (tmp_path / "1.safetensors").write_text("")
    (tmp_path / "README.md").write_text("")
    assert [path.name for path in list_folder_parts(tmp_path, NAMES)] == [*NAMES, "1.safetensors"]
    assert name_folder_parts(tmp_path, "./m/", ("config.json", "1_Pooling/config.json")) == [
        "m/config.json", "m/1_Pooling/config.json"
    ]  # fmt: skip
    assert name_folder_parts(tmp_path, ".", ("config.json",)) == ["config.json"]
