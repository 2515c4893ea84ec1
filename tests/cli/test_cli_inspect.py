import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx_examples import MATMUL, constant, make_model

from onnxpack.bundle.layer import LayerFile, Why, write_files
from onnxpack.core.errors import EngineError
from onnxpack.inspection import image as look_image
from onnxpack.spec.load import load

Run = Callable[..., Any]
EXAMPLES = Path(__file__).parents[2] / "specs"

MODEL_TEXT = """\
m.onnx: ONNX model
  size           160 B
  opset          17
  IR version     10
  parameters     16 in 64 B
  in attributes  0 numbers
  precision      float32
  nodes          1

inputs
  x  float32 [b, 4]

outputs
  y  float32 [b, 4]

ops
  1  MatMul
"""

REPORT: dict[str, Any] = {
    "name": "iris", "version": "1.0.0", "target": "cpu", "status": "passed",
    "stages": [
        {"name": "export", "seconds": 3.7121, "cached": False, "key": "6248990673" * 6},
        {"name": "verify", "seconds": 0.0, "cached": True, "key": "3e8bda5da8" * 6},
    ],
    "model": {
        "opset": 17, "precision": "float32", "size_bytes": 21239, "sha256": "f6d5",
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "dtype": "int64", "shape": ["batch"]}],
    },
    "parity": {"passed": True, "comparisons": 8, "max_abs_diff": 3.5e-07},
    "image": {
        "reference": "iris:1.0.0-cpu", "references": ["iris:1.0.0-cpu", "iris:0876-cpu"], "id": "sha256:79c2",
        "digest": None, "size_bytes": 123971557,
        "layers": [{"digest": "sha256:bd00", "size_bytes": 42496858, "created_by": "base"}],
    },
    "batching": {"request_rows": 1, "batch_rows_per_second": 20481.25, "gain": 2.5},
    "smoke": {
        "comparisons": 10, "ready_seconds": 0.88, "peak_rss_bytes": 73015296, "on_gpu": None,
        "soak": {"requests": 900, "growth_bytes": 4200000},
        "load": {
            "cores": 2,
            "points": [
                {"clients": 1, "rate": 812.5, "p50_seconds": 0.0012, "p90_seconds": 0.002, "p99_seconds": 0.004},
                {"clients": 2, "rate": 1600.25, "p50_seconds": 0.0012, "p90_seconds": 0.002, "p99_seconds": 0.005},
            ],
            "histogram": {"edges_seconds": [0.001, 0.002, 0.004], "counts": [3, 1]}, "held_out": None,
        },
    },
    "settings": ["image.python=3.13"],
}  # fmt: skip

REPORT_TEXT = """\
report.json: report of iris 1.0.0
  status  passed
  target  cpu
  model   opset 17, float32, 21.2 kB
  sha256  f6d5

stages
  export  3.712 s  done       624899067362
  verify  0.000 s  unchanged  3e8bda5da83e

inputs
  x  float32 [batch, 4]

outputs
  y  int64 [batch]

parity
  passed        yes
  comparisons   8
  max_abs_diff  3.5e-07

batching
  request_rows           1
  batch_rows_per_second  20481.2
  gain                   2.5

image
  names  iris:1.0.0-cpu, iris:0876-cpu
  id     sha256:79c2
  size   124.0 MB
  42.5 MB  sha256:bd00  base

smoke
  comparisons    10
  ready          880 ms
  peak_rss       73.0 MB
  soak requests  900
  soak growth    4.2 MB

load
  1 client   812.5 requests/s, p50 1.20 ms, p99 4.00 ms
  2 clients  1600.25 requests/s, p50 1.20 ms, p99 5.00 ms

more
  settings  image.python=3.13
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(make_model(MATMUL, constants=[constant("w")]).SerializeToString())
    return Path("m.onnx")


def test_an_onnx_file(model: Path, onnxpack: Run) -> None:
    ended = onnxpack("inspect", model)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == MODEL_TEXT


def test_an_onnx_file_as_json(model: Path, onnxpack: Run) -> None:
    (facts,) = json.loads(onnxpack("inspect", model, "--json").out)
    assert facts["kind"] == "onnx"
    assert (facts["opset"], facts["ops"], facts["weights"]) == (17, {"MatMul": 1}, {"float32": 64})


@pytest.mark.parametrize("name", ["iris", "digits", "transactions"])
def test_a_spec_is_shown_as_a_valid_spec_with_its_defaults(onnxpack: Run, name: str, tmp_path: Path) -> None:
    spec = load(EXAMPLES / name / "spec.yaml").spec
    text = onnxpack("inspect", EXAMPLES / name).out
    for part in ("model.py", "iris.joblib", "weights"):
        if (EXAMPLES / name / part).exists():
            (tmp_path / part).symlink_to(EXAMPLES / name / part)
    (tmp_path / ".git").mkdir()
    (tmp_path / "spec.yaml").write_text(text)
    for path in tmp_path.iterdir():  # a link would lead out of the project
        if path.is_symlink():
            copy(path)
    again = load(tmp_path / "spec.yaml").spec
    assert again.axes == spec.axes
    assert (again.model, again.inputs, again.outputs, again.targets) == (
        spec.model,
        spec.inputs,
        spec.outputs,
        spec.targets,
    )
    assert (again.runtime, again.image, again.verify) == (spec.runtime, spec.image, spec.verify)
    assert "port: 8080" in text
    assert "compared with rtol 0.001, atol 0.0001" in text


def test_a_spec_with_steps_is_shown_as_a_valid_spec(onnxpack: Run, tmp_path: Path) -> None:
    for name in ("scans", "digits"):  # the one uses the other's model
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    (tmp_path / ".git").mkdir()
    shown = onnxpack("inspect", EXAMPLES / "scans").out
    (tmp_path / "scans/spec.yaml").write_text(shown)
    again, spec = (load(folder / "scans/spec.yaml").spec for folder in (tmp_path, EXAMPLES))
    assert spec.preprocess
    assert (again.preprocess, again.postprocess) == (spec.preprocess, spec.postprocess)


def copy(link: Path) -> None:
    """Put what a link leads to in its place."""
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link) if target.is_dir() else shutil.copyfile(target, link)


def test_a_spec_as_json_has_nothing_left_out(onnxpack: Run) -> None:
    (facts,) = json.loads(onnxpack("inspect", EXAMPLES / "iris/spec.yaml", "--json").out)
    assert facts["spec"]["runtime"]["port"] == 8080
    assert facts["spec"]["model"]["factory"] is None
    assert facts["targets"]["cpu"]["rtol"] == 0.001


def test_a_report(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.json").write_text(json.dumps(REPORT))
    assert onnxpack("inspect", "report.json").out == REPORT_TEXT
    (facts,) = json.loads(onnxpack("inspect", "report.json", "--json").out)
    assert facts == {"kind": "report", "path": "report.json", **REPORT}


def test_a_report_shows_outputs_and_scores_as_verify_does(tmp_path: Path, onnxpack: Run) -> None:
    row = {
        "name": "y\x1b[31m", "passed": False, "differs": "labels", "comparisons": 8, "max_abs_diff": 7.2345e-07,
        "max_rel_diff": 0.25, "min_cosine": 0.99999999, "min_sqnr_db": 45.123, "argmax_agreement": 0.998,
        "ties": 0, "rtol": None, "atol": None,
    }  # fmt: skip
    parity = {"passed": False, "differs": "labels", "max_abs_diff": 7.2345e-07, "outputs": [row]}
    scored = {"metric": "accuracy", "source": 0.97826086956, "model": 0.5, "model_digest": "d" * 64}
    more = {"parity": parity, "evaluation": scored, "ran_on_gpu": False, "set": ["opset=18"], "sandbox": "bubblewrap"}
    (tmp_path / "report.json").write_text(json.dumps(REPORT | more))
    told = onnxpack("inspect", tmp_path / "report.json").out
    lines = [line.split() for line in told.splitlines()]
    assert ["passed", "NO:", "labels"] in lines
    assert "8 7.2e-07 0.25 1.0000000 45.1 dB 99.8% 0 equal equal NO: labels" in [" ".join(line[1:]) for line in lines]
    assert ["source", "0.978261"] in lines
    assert ["ran", "on", "a", "GPU", "no"] in lines
    assert ["set", "opset=18"] in lines
    assert "\x1b" not in told


def test_a_report_of_a_failed_build(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = {"message": "they differ", "hint": "look at the rows", "where": None, "detail": "row 1\nrow 2"}
    failed = {"name": "iris", "target": "cpu", "status": "failed", "stage": "verify", "problems": [problem]}
    Path("report.json").write_text(json.dumps(failed | {"model": None, "exit_code": 4}))
    ended = onnxpack("inspect", "report.json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "report.json: report of iris\n  status  failed\n  target  cpu\n  stage   verify\n\n"
        "problems\n  they differ\n    look at the rows\n    row 1\n    row 2\n"
    )


def test_a_reports_precisions_are_a_table(tmp_path: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"precision": "float32", "size_bytes": 1000, "speedup": 1.0},
        {"precision": "int8-static", "size_bytes": 300, "speedup": 2.0, "chosen": True, "passed": True, "later": 1},
        {"precision": "int4-weights", "reason": "wrong\x1b[31m"},
    ]
    report = REPORT | {"candidates": rows, "evaluation": {"metric": "accuracy", "source": 1.0, "model": 0.5}}
    Path("report.json").write_text(json.dumps(report))
    told = onnxpack("inspect", "report.json").out
    assert "  metric  accuracy" in told
    (line,) = [line for line in told.splitlines() if "int8-static" in line]
    assert line.split()[1:5] == ["300", "B", "-", "2.00x"]
    assert line.endswith("chosen")
    assert "int4-weights: wrong" in told
    assert "\x1b" not in told


def test_a_report_of_a_build_that_stopped_early(tmp_path: Path, onnxpack: Run) -> None:
    early = REPORT | {"parity": None, "image": None, "smoke": None, "version": None, "settings": []}
    (tmp_path / "report.json").write_text(json.dumps(early))
    ended = onnxpack("inspect", tmp_path / "report.json")
    assert ended.code == 0
    assert "smoke" not in ended.out


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "[" * 100_000, json.dumps(REPORT | {"stages": [1]}), json.dumps(REPORT | {"model": {}}),
     json.dumps(REPORT | {"stages": [{"name": "x", "seconds": "long", "cached": 1, "key": 2}]})],
)  # fmt: skip
def test_file_that_is_not_a_report_is_refused(tmp_path: Path, onnxpack: Run, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    ended = onnxpack("inspect", tmp_path / "report.json")
    assert (ended.code, ended.out) == (2, "")
    assert "report.json" in ended.err


def test_a_bundle_shows_its_model_too(model: Path, onnxpack: Run, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    out = onnxpack("inspect", tmp_path).out
    assert out.startswith(f"{tmp_path}: bundle\n")
    assert "model.onnx: ONNX model" in out
    assert "report of iris 1.0.0" in out


class FakeEngine:
    """An engine with one image."""

    layers = (type("Layer", (), {}),)

    def find(self, reference: str) -> Any:
        from onnxpack.image.engine import Image, Layer

        if reference != "iris:1":
            return None
        labels = {"dev.onnxpack.content": "0876", "org.opencontainers.image.base.name": "base", "team": "a\x1b[2J"}
        layers = (Layer("sha256:bd00", 42496858, "COPY dir:1 in /"),)
        return Image("sha256:79c2", 123971557, layers, labels, platform="linux/amd64")

    def guarded(self, what: str) -> Any:
        import contextlib

        return contextlib.nullcontext()

    @property
    def client(self) -> Any:
        return self

    def inspect_image(self, reference: str) -> dict[str, Any]:
        config = {"User": "65532:65532", "Entrypoint": ["python3", "-m", "server"], "Env": ["A=1=2"], "Cmd": None}
        return {"Config": config, "Created": "1980", "Os": "linux", "Architecture": "amd64", "RepoTags": ["iris:1"]}


IMAGE_TEXT = """\
iris:1: image
  id          sha256:79c2
  names       iris:1
  created     1980
  platform    linux/amd64
  size        124.0 MB
  user        65532:65532
  entrypoint  python3 -m server

layers
  42.5 MB  sha256:bd00  COPY dir:1 in /

provenance
  base     base
  content  0876

labels
  dev.onnxpack.content                0876
  org.opencontainers.image.base.name  base
  team                                a\N{REPLACEMENT CHARACTER}[2J

environment
  A  1=2
"""


def test_an_image(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_image, "DockerEngine", FakeEngine)
    monkeypatch.setattr(look_image, "choose_engine", lambda: "docker")
    assert onnxpack("inspect", "iris:1").out == IMAGE_TEXT


def test_unknown_name_is_refused(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_image, "DockerEngine", FakeEngine)
    monkeypatch.setattr(look_image, "choose_engine", lambda: "docker")
    ended = onnxpack("inspect", "irsi:1")
    assert ended.code == 2
    assert "neither a file nor an image" in ended.err


def test_without_an_engine_a_wrong_path_is_still_told(onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Any, reference: str) -> Any:
        raise EngineError("no Docker engine answers")

    monkeypatch.setattr(FakeEngine, "find", nobody)
    monkeypatch.setattr(look_image, "DockerEngine", FakeEngine)
    monkeypatch.setattr(look_image, "choose_engine", lambda: "docker")
    ended = onnxpack("inspect", "irsi")
    assert ended.code == 5
    assert "there is no file 'irsi'" in ended.err


def test_several_at_once_and_one_that_fails(model: Path, onnxpack: Run, tmp_path: Path) -> None:
    Path("weights.pt").write_bytes(b"PK")
    Path("empty").mkdir()
    ended = onnxpack("inspect", "gone.onnx", model, "weights.pt", "empty", "./gone", model, "--json")
    assert ended.code == 2
    assert [facts["path"] for facts in json.loads(ended.out)] == ["m.onnx", "m.onnx"]
    assert ended.err.count("error: ") == 4
    assert "onnxpack init" in ended.err


def test_a_bundle_says_why_it_has_a_file(onnxpack: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("context").mkdir()
    Path("context/Dockerfile").write_text("FROM x\n")
    write_files(Path("files.json"), (LayerFile("a/b.py", "a", 7, True, Why("imported by", "app/inference.py")),))
    ended = onnxpack("inspect", ".", "--why", "b.py")
    assert (ended.code, ended.out) == (0, "/opt/onnxpack/lib/a/b.py: 7 B of a\n  imported by app/inference.py\n")
    (facts,) = json.loads(onnxpack("inspect", ".", "--json", "--why").out)
    assert facts["packages"][0]["name"] == "a"
    ended = onnxpack("inspect", ".", "--why", "c.py")
    assert (ended.code, ended.out) == (2, "")
    assert "neither the image nor the wheels have a file 'c.py'" in ended.err


def test_an_image_is_answered_with_what_to_name_instead(onnxpack: Run) -> None:
    ended = onnxpack("inspect", "iris:1", "--why", "a.py")
    assert ended.code == 2
    assert "name the folder that a build left" in ended.err
