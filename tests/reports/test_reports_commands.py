"""The commands that a report gives can be copied, from any folder, whatever its names are."""

import json
import shlex
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from exporting import write_spec

from onnxpack.reports.commands import list_commands, make_request, name_picture
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec

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


def test_a_server_of_pictures_is_asked_about_a_file() -> None:
    serving = REPORT["serving"] | {"picture": "image/jpeg"}
    assert lines(serving=serving)[-1] == (
        "curl -s localhost:8080/predict -H 'Content-Type: image/jpeg' --data-binary @picture.jpeg"
    )


def write_steps(folder: Path, inputs: str, steps: str) -> Spec:
    (folder / "m.onnx").touch()
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    (folder / "t.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    path = folder / "spec.yaml"
    path.write_text(
        f"onnxpack: 1\nname: x\nmodel: {{framework: onnx, path: m.onnx}}\ninputs: {inputs}\n"
        f"dynamic_axes: {{n: [1, 8], t: [1, 9]}}\npreprocess: [{steps}]\n"
    )
    return load(path).spec


def test_requests_hold_what_clients_send(tmp_path: Path) -> None:
    tokens = "{input_ids: {dtype: int64, shape: [n, t]}, w: {dtype: float32, shape: [n, 2]}}"
    spec = write_steps(tmp_path, tokens, "{op: tokenize, input: text, tokenizer: t.json}")
    text, weight = (make_request(spec) or {})["inputs"]
    assert text == {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["An example."]}
    assert (weight["name"], weight["shape"], name_picture(spec)) == ("w", [1, 2], None)
    image = "{image: {dtype: uint8, shape: [n, 4, 4, 3]}, w: {dtype: float32, shape: [n, t]}}"
    spec = write_steps(tmp_path, image, "{op: decode, input: image}, {op: resize, input: image, size: [4, 4]}")
    assert make_request(spec) is name_picture(spec) is None, "a picture is no word of a command, nor all that is sent"
    alone = replace(spec, inputs={"image": spec.inputs["image"]}, dynamic_axes={"n": spec.dynamic_axes["n"]})
    assert name_picture(alone) == "image/jpeg"
