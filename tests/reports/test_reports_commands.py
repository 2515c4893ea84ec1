"""The commands that a report gives can be copied, from any folder, whatever its names are."""

import json
import shlex
from pathlib import Path, PurePath
from typing import Any

from exporting import write_spec

from onnxpack.reports.commands import list_commands, make_request

REPORT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/report/full.json").read_text())


def lines(folder: str = ".", **fields: Any) -> list[str]:
    return [command.line for command in list_commands(REPORT | fields, PurePath(folder))]


def test_an_image_in_an_archive_is_served_loaded_and_asked() -> None:
    assert lines("dist/a b") == [
        "onnxpack run 'dist/a b'",
        "docker load -i 'dist/a b/image.tar'",
        "docker run --rm --read-only -p 8080:8080 scans:1.0.0-cpu",
        "curl -s localhost:8080/v2/models/scans",
    ]


def test_what_stops_before_the_image_says_how_to_make_it() -> None:
    assert lines(image=None)[0] == "docker build -t scans:1.0.0-cpu context"


def test_an_image_without_a_server_predicts_from_a_file() -> None:
    serving = REPORT["serving"] | {"ports": [], "gpu": True}
    assert lines(serving=serving)[-1].startswith("docker run --rm --read-only --gpus all -v")
    assert not any("onnxpack run" in line for line in lines(serving=serving))


def test_what_left_nothing_that_runs_has_no_commands() -> None:
    assert lines(serving=None) == list_commands({}, PurePath()) == []


def test_foreign_names_are_quoted() -> None:
    bad = "x; rm -rf ~ $(id)"
    request = {"inputs": [{"name": "it's"}]}
    found = lines(name=bad, serving=REPORT["serving"] | {"image": bad, "request": request})
    assert shlex.split(found[2])[-1] == bad
    assert shlex.split(found[3])[2] == f"localhost:8080/v2/models/{bad}/infer"
    assert json.loads(shlex.split(found[3])[-1]) == request


def test_a_request_has_words_for_missing_numbers(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    inputs = {"x": {"dtype": "float32", "shape": ["n", 20], "missing": True}}
    request = make_request(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, inputs=inputs).spec)
    assert request
    (row,) = request["inputs"][0]["data"]
    assert "NaN" in row
    assert json.loads(json.dumps(request, allow_nan=False)) == request
