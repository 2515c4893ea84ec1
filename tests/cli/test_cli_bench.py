"""``onnxpack bench``: what is compared with what, its tables and JSON, and the contract's exit codes. No times."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import onnx
import pytest
from exporting import write_spec
from listening import listen
from onnx import helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, make_model

ROOT = Path(__file__).parents[2]
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.relu(self.linear(x))
"""


@pytest.fixture
def command(tmp_path: Path) -> Any:
    """The command line, to be run in a folder of its own."""
    environment = os.environ | {"ONNXPACK_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    options = {"env": environment, "cwd": tmp_path, "text": True}
    return [sys.executable, "-m", "onnxpack", "bench"], options


@pytest.fixture
def bench(command: Any) -> Any:
    """Run the command to its end."""
    words, options = command

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *map(str, arguments)], capture_output=True, check=False, **options)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "spec").mkdir()
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    onnx.save(make_model(nodes, constants=[constant("w")]), tmp_path / "spec/m.onnx")
    targets: dict[str, Any] = {"cpu": {}, "gpu": {"device": "cuda"}, "other": {}}
    return write_spec(tmp_path / "spec", {"framework": "onnx", "path": "m.onnx"}, targets=targets).path


def place(tmp_path: Path, target: str, model: onnx.ModelProto, precision: str = "int8-dynamic") -> None:
    """What a build would have left."""
    folder = tmp_path / "dist/example" / target
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "report.json").write_text(json.dumps({"model": {"precision": precision}}))


def test_a_spec_with_what_was_built_of_it(bench: Any, spec: Path, tmp_path: Path) -> None:
    place(tmp_path, "cpu", make_model(MATMUL, constants=[constant("w")]))
    place(tmp_path, "gpu", make_model(RELU), "float16")
    ended = bench(spec, "--seconds", "0", "--json", "--threads", "1", "--svg", "b.svg")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["name"] == "example"
    assert document["machine"]["threads"] == 1
    assert document["batch_axis"] == "n"
    assert [result["label"] for result in document["results"]] == ["float32 export", "cpu (int8-dynamic)"]
    for result in document["results"]:
        assert [timing["rows"] for timing in result["timings"]] == [1, 8, 16]
        assert result["size_bytes"] > 0
        assert result["peak_rss_bytes"] > 10_000_000
    assert [set(result["timings"][0]["speedup"]) for result in document["results"]] == [set(), {"float32"}]
    assert document["usual"] == 1
    notes = [note for note in document["notes"] if "busy" not in note]
    assert notes == ["target gpu is for cuda: it is not timed on a CPU", "target other is not built"]
    assert ET.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")
    assert {path.name for path in tmp_path.iterdir()} == {"spec", "cache", "dist", "b.svg"}


def test_a_source_framework_takes_part(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NET)
    file = write_spec(tmp_path, {"framework": "torch", "factory": "nets.py:Net", "weights": "none"})
    ended = bench(file.path, "--seconds", "0", "--batch", "2")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("example on ")
    assert lines[2].split() == ["n", "model", "p50", "p99", "rows/s", "against", "source", "against", "float32"]
    assert [line.split()[:3] for line in lines[3:5]] == [["2", "torch", "(source)"], ["2", "float32", "export"]]
    assert lines[5] == ""


def test_the_steps_are_part_of_what_is_timed(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NET)
    steps = {
        "preprocess": [{"op": "scale", "input": "x", "scale": 2.0}],
        "postprocess": [{"op": "softmax", "input": "y", "axis": 1}],
    }
    model = {"framework": "torch", "factory": "nets.py:Net", "weights": "none"}
    file = write_spec(tmp_path, model, outputs=["y"], **steps)
    ended = bench(file.path, "--seconds", "0", "--batch", "1", "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["results"]) == 2


def test_a_target_that_ships_the_export_is_not_timed_twice(bench: Any, spec: Path, tmp_path: Path) -> None:
    bench(spec, "--seconds", "0", "--batch", "1")
    (stored,) = (tmp_path / "cache").rglob("model.onnx")
    place(tmp_path, "cpu", make_model(RELU))
    shutil.copyfile(stored, tmp_path / "dist/example/cpu/model.onnx")
    ended = bench(spec, "--seconds", "0", "--batch", "1", "--target", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert "note: target cpu ships the float32 export" in ended.stdout
    assert "other" not in ended.stdout


def test_a_model_alone(bench: Any, tmp_path: Path) -> None:
    shape = ["b", "seq", 4]
    model = make_model(RELU, [("x", FLOAT, shape)], [("y", FLOAT, shape)])
    onnx.save(model, tmp_path / "my model.onnx")
    ended = bench("my model.onnx", "--seconds", "0", "--size", "seq=5", "--batch", "2", "--batch", "3", "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    (result,) = document["results"]
    assert (document["name"], result["kind"]) == ("my model.onnx", "model")
    assert [timing["sizes"] for timing in result["timings"]] == [{"b": 2, "seq": 5}, {"b": 3, "seq": 5}]
    assert result["size_bytes"] == (tmp_path / "my model.onnx").stat().st_size


def test_a_model_of_fixed_shapes(bench: Any, tmp_path: Path) -> None:
    onnx.save(make_model(RELU, [("x", FLOAT, [2, 4])], [("y", FLOAT, [2, 4])]), tmp_path / "m.onnx")
    ended = bench("m.onnx", "--seconds", "0")
    assert ended.returncode == 0, ended.stderr
    assert "runs/s" in ended.stdout
    ended = bench("m.onnx", "--seconds", "0", "--batch", "2")
    assert ended.returncode == 2
    assert "--batch: no dynamic axis is the first of every input" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--target", "cup"], 2, "did you mean 'cpu'?"),
        (["--target", "cpu"], 2, "target 'cpu' is not built"),
        (["--batch", "17"], 2, "17 is outside the sizes of 'n', 1 to 16"),
        (["--size", "m=1"], 2, "the model has no dynamic axis 'm'"),
        (["--size", "n"], 2, "'n' is not AXIS=N"),
        (["--svg", "nowhere/b.svg"], 2, "there is no folder 'nowhere'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told(arguments: list[str], code: int, words: str, bench: Any, spec: Path) -> None:
    ended = bench(spec, "--seconds", "0", *arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_file_that_is_not_a_model_is_told(bench: Any, spec: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    (tmp_path / "m.txt").write_bytes(b"no model")
    for name, code, words in [
        ("m.onnx", 3, "'m.onnx' is not an ONNX model"),
        ("m.txt", 2, "`bench` times specs and ONNX files only"),
        ("none.onnx", 2, "there is no such file"),
        ("cache", 2, "there is no such file"),
    ]:
        ended = bench(name)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert words in ended.stderr


def test_a_build_of_another_state_of_the_spec_is_told(bench: Any, spec: Path, tmp_path: Path) -> None:
    place(tmp_path, "cpu", other())
    ended = bench(spec, "--seconds", "0")
    assert ended.returncode == 3
    assert "cpu (int8-dynamic): " in ended.stderr
    assert "does not run" in ended.stderr
    assert "run the build again with this spec" in ended.stderr


def other() -> onnx.ModelProto:
    """A model that takes another input."""
    return make_model([helper.make_node("Relu", ["z"], ["y"])], [("z", FLOAT, ["b", 4])])


def test_ctrl_c_ends_it_and_its_children(command: Any, spec: Path) -> None:
    words, options = command
    running = subprocess.Popen(
        [*words, str(spec), "--seconds", "600", "--batch", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=listen,
        **options,
    )
    assert running.stderr
    for line in running.stderr:
        if "bench …" in line:
            break
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told.endswith("interrupted\n")
