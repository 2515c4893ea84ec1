"""The command line of a generated module: what each command prints, writes and answers to wrong input."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bundle_examples import CUDA, IRIS, save_transactions

from onnxpack.bundle.render import ModuleView, render_module

Load = Callable[..., ModuleType]
Call = Callable[..., tuple[int, str, str]]
Capture = pytest.CaptureFixture[str]
PYTHON = [sys.executable, "-m", "inference"]
VARIABLES = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}


def run(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**VARIABLES, **environment}
    command = [*PYTHON, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def write_app(folder: Path, view: ModuleView) -> None:
    """Write the modules of a view."""
    for name, text in render_module(view).items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def call(load: Load, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Callable[..., tuple[int, str, str]]:
    """Call the command line of a model in this process; give its status, and what it prints."""

    def call(model: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["inference", *map(str, arguments)])
        status = load(model, "commands").main()
        return status, *capsys.readouterr()

    return call


def test_cuda_does_not_fall_back(tmp_path: Path) -> None:
    write_app(tmp_path, CUDA)
    save_transactions(tmp_path / "model.onnx")
    done = run(tmp_path, "bench", PYTHONWARNINGS="ignore")
    assert done.returncode == 1
    assert done.stderr == "no CUDA device can be used, and model.onnx is made for one\n"
    assert done.stdout == ""


def test_help_and_import_need_no_onnxruntime(apps: dict[str, Path]) -> None:
    for words, word in (("--help", "check"), ("predict --help", "--output"), ("--input x -h", "csv")):
        done = run(apps["iris"], *words.split())
        assert (done.returncode, word in done.stdout) == (0, True)
    code = "import sys, inference, commands; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-B", "-c", code], cwd=apps["iris"]).returncode == 0


def test_command_line_to_stdout(apps: dict[str, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", float_input=np.eye(4)[:2] * 9)
    np.savez(tmp_path / "b.npz", float_input=np.full((1, 4), np.nan, np.float32))
    one = run(apps["iris"], "predict", "--input", tmp_path / "a.npz")
    assert (one.returncode, one.stderr) == (0, "")
    document = json.loads(one.stdout)
    assert list(document) == ["label", "probabilities"]
    assert document["label"] == [0, 1], "and float64 was rounded to float32"
    two = json.loads(run(apps["iris"], "--input", tmp_path / "a.npz", tmp_path / "b.npz").stdout)
    assert two[0] == document
    assert two[1]["probabilities"] == [["NaN"] * 3]


def test_command_line_to_files(apps: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", float_input=np.eye(4, dtype=np.float32) * 9)
    done = run(apps["iris"], "--input", tmp_path / "a.npz", "--output", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with np.load(tmp_path / "out", allow_pickle=False) as outputs:
        assert outputs["label"].tolist() == [0, 1, 2, 0]
        assert outputs["probabilities"].dtype == np.float32
    done = run(apps["iris"], "--input", tmp_path / "a.npz", tmp_path / "b.npz", "--output", tmp_path / "new/folder")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == ["a.npz", "b.npz"]


def test_command_line_with_odd_names_and_strings(apps: dict[str, Path], tmp_path: Path) -> None:
    arrays = {"input.1": np.array([["é"]]), "class": np.array([True, False]), "a b": np.ones((2, 2), int)}
    np.savez(tmp_path / "x.npz", **arrays, a_b=np.array(True))
    done = run(apps["odd"], "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(tmp_path / "y.npz", allow_pickle=False) as outputs:
        assert outputs["index"].tolist() == [["é"]]
        assert outputs["file"].tolist() == [False, True]
        assert outputs['it\'s "it"'].tolist() == [[2, 2], [2, 2]]


def bad_files(folder: Path) -> dict[str, str]:
    """Files that are no proper input for iris, and a part of what must be said of each."""
    zeros = np.zeros((1, 4), np.float32)
    np.savez(folder / "name.npz", wrong=zeros)
    np.savez(folder / "extra.npz", float_input=zeros, extra=zeros)
    np.savez(folder / "dtype.npz", float_input=np.array([["a"] * 4]))
    np.savez(folder / "shape.npz", float_input=zeros[0])
    np.savez(folder / "huge.npz", float_input=np.full((1, 4), 1e300))
    np.savez(folder / "object.npz", float_input=np.array([[None] * 4], object))
    np.save(folder / "plain.npy", zeros)
    np.savez_compressed(folder / "cut.npz", float_input=zeros)
    whole = bytearray((folder / "cut.npz").read_bytes())
    (folder / "cut.npz").write_bytes(whole[:100])
    whole[80:90] = bytes(10)
    (folder / "flipped.npz").write_bytes(whole)
    with zipfile.ZipFile(folder / "raw.npz", "w") as archive:
        archive.writestr("float_input", "no array")
    (folder / "empty.npz").touch()
    (folder / "text.npz").write_text("hello")
    return {
        "missing.npz": "No such file",
        ".": "Is a directory",
        "name.npz": "input 'float_input' is missing",
        "extra.npz": "there is no input 'extra'",
        "dtype.npz": "expected float32, got <U1",
        "shape.npz": "the shape must be [batch, 4], got [4]",
        "huge.npz": "a value does not fit float32",
        "object.npz": "allow_pickle=False",
        "plain.npy": "not an npz file",
        "cut.npz": "not an npz file",
        "flipped.npz": "not an npz file of plain arrays",
        "raw.npz": "not an npz file of plain arrays",
        "empty.npz": "not an npz file",
        "text.npz": "not an npz file",
    }


def test_bad_files_are_told_in_one_line(call: Call, tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path).items():
        status, out, error = call("iris", "--input", tmp_path / name, "--output", "never.npz")
        assert (status, out) == (2, ""), name
        assert message in error, name
        assert error.count("\n") == 1
        assert error.startswith(str(tmp_path / name))


def test_bad_command_lines(apps: dict[str, Path], tmp_path: Path) -> None:
    assert run(apps["iris"]).returncode == 2
    same = run(apps["iris"], "--input", "a/x.npz", "b/x.npz", "--output", tmp_path)
    assert same.returncode == 2
    assert "same file name" in same.stderr
    np.savez(tmp_path / "x.npz", float_input=np.zeros((1, 4), np.float32))
    nowhere = run(apps["iris"], "--input", tmp_path / "x.npz", "--output", tmp_path / "no/where.npz")
    assert nowhere.returncode == 2
    assert nowhere.stderr.count("\n") == 1
    assert "Traceback" not in nowhere.stderr


@pytest.mark.parametrize(
    ("content", "message"), [(None, "File doesn't exist"), (b"rubbish" * 99, "Protobuf parsing failed")]
)
def test_a_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    write_app(tmp_path, IRIS)
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    done = run(tmp_path, "bench")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_files_of_every_kind_give_the_same_answer(call: Call, tmp_path: Path) -> None:
    rows = np.eye(4, dtype=np.float32)[:3] * 9
    np.savez(tmp_path / "a.npz", float_input=rows)
    (tmp_path / "a.json").write_text(json.dumps({"float_input": rows.tolist()}))
    cells = [",".join(map(str, row)) for row in rows.tolist()]
    (tmp_path / "a.csv").write_text("\n".join([",".join(f"float_input{i}" for i in range(4)), *cells]))
    answers = {call("iris", "predict", "--input", tmp_path / f"a.{kind}") for kind in ("npz", "json", "csv")}
    assert len(answers) == 1
    assert json.loads(answers.pop()[1])["label"] == [0, 1, 2]


def test_a_write_that_fails_names_the_file_that_was_to_be_written(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", float_input=np.zeros((1, 4), np.float32))
    status, _, error = call("iris", "--input", tmp_path / "x.npz", "--output", tmp_path / "no/where.csv")
    assert (status, error.partition(":")[0]) == (2, f"{tmp_path}/no/where.csv")


@pytest.mark.parametrize("device", ["a full disk", "a reader that has left"])
def test_a_stdout_that_takes_nothing_is_told(apps: dict[str, Path], tmp_path: Path, device: str) -> None:
    np.savez(tmp_path / "x.npz", float_input=np.zeros((1, 4), np.float32))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe, Path("/dev/full").open("wb") as full:
        stdout = full if device == "a full disk" else pipe
        command = [*PYTHON, "predict", "--input", str(tmp_path / "x.npz")]
        done = subprocess.run(
            command, cwd=apps["iris"], env=VARIABLES, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("cannot write to stdout: ")


def test_bench_prints_figures_for_people_and_for_tools(call: Call, tmp_path: Path) -> None:
    status, out, error = call("iris", "bench", "--seconds", "0.05")
    assert (status, error) == (0, "")
    titles = [line.partition("  ")[0] for line in out.splitlines()]
    assert titles == ["predictions", "p50, p90, p99", "rows/s", "peak memory"]
    np.savez(tmp_path / "x.npz", float_input=np.zeros((64, 4), np.float32))
    found = json.loads(call("iris", "bench", "--seconds", "0.05", "--input", tmp_path / "x.npz", "--json")[1])
    assert found["latency_p50_seconds"] <= found["latency_p90_seconds"] <= found["latency_p99_seconds"]
    assert found["rows_per_second"] == pytest.approx(64 * found["predictions_per_second"])
    assert found["peak_rss_bytes"] > 2**20
    assert found["predictions"] > 1


def test_bench_of_a_model_without_rows_counts_predictions(call: Call) -> None:
    assert "predictions/s" in call("odd", "bench", "--seconds", "0.01")[1]
    assert "rows_per_second" not in json.loads(call("odd", "bench", "--seconds", "0.01", "--json")[1])


def test_bench_is_bounded_in_what_it_keeps(load: Load, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("iris", "commands"), "MAX_RUNS", 7)
    assert json.loads(call("iris", "bench", "--seconds", "3600", "--json")[1])["predictions"] == 7


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "3601", "x"])
def test_bench_refuses_times_that_never_end(call: Call, seconds: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        call("iris", "bench", f"--seconds={seconds}")


def test_an_interrupt_ends_it_without_a_traceback(apps: dict[str, Path], tmp_path: Path) -> None:
    fifo = tmp_path / "x.json"  # it is opened once the model is loaded, and never ends
    os.mkfifo(fifo)
    command = [*PYTHON, "predict", "--input", str(fifo)]
    process = subprocess.Popen(
        command, cwd=apps["iris"], env=VARIABLES, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        with fifo.open("wb"):
            process.send_signal(signal.SIGINT)
            # Another thread may take the signal, and needs a moment to tell the one that reads.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        # The end of the file wakes a read that began just after Python had looked for signals.
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out, error) == (130, "", "interrupted\n")


def test_a_model_that_fails_in_the_middle_is_told_in_one_line(
    load: Load, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("CUDA failure 700:\n an illegal memory access")  # onnxruntime's own share no base

    monkeypatch.setattr(load("iris").Model, "run", fail)
    status, out, error = call("iris", "bench")
    assert (status, out) == (1, "")
    assert error.endswith("the model fails: CUDA failure 700: an illegal memory access\n")
    assert error.count("\n") == 1


def save_reference(path: Path, **changes: object) -> None:
    """A reference of iris with one case, in which the first three inputs are the logits."""
    inputs = np.array([[0, 0, 9, 0], [np.nan, 0, 0, 0]], np.float32)
    probabilities = np.exp(inputs[:, :3]) / np.exp(inputs[:, :3]).sum(1, keepdims=True)
    arrays: dict[str, object] = {
        "one/inputs/float_input": inputs,
        "one/outputs/label": np.array([2, 0]),
        "one/outputs/probabilities": probabilities,
        "one/limits/probabilities": np.array([1e-3, 1e-3, 0]),
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def test_check_replays_a_reference(apps: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    missing = run(apps["iris"], "check", "--reference", str(path))
    assert (missing.returncode, missing.stderr) == (2, f"{path}: [Errno 2] No such file or directory: '{path}'\n")
    save_reference(path)
    done = run(apps["iris"], "check", "--reference", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "label: ok, worst difference 0"
    assert done.stdout.splitlines()[1].startswith("probabilities: ok, worst difference ")
    assert done.stdout.splitlines()[2] == "cases compared: one"


PROBABILITIES = np.array([[0.1, 0, 0.9], [np.nan] * 3], np.float32)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"one/outputs/label": np.array([1, 0])}, "label: DIFFERS in case one (1 of 2 values differ)"),
        ({"one/outputs/label": np.array([2, 0, 0])}, "label: DIFFERS in case one (int64 [2] instead of int64 [3])"),
        ({"one/outputs/label": np.array([2.0, 0])}, "label: DIFFERS in case one (int64 [2] instead of float64 [2])"),
        ({"one/outputs/probabilities": PROBABILITIES}, "probabilities: DIFFERS in case one (2 of 6 values differ)"),
        ({"one/limits/probabilities": None}, "probabilities: DIFFERS in case one ("),
        (
            {"one/outputs/probabilities": np.full((2, 3), np.nan, np.float32)},
            "probabilities: DIFFERS in case one (NaN or infinite in other places)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_check_tells_which_output_differs(call: Call, tmp_path: Path, changes: dict[str, object], line: str) -> None:
    save_reference(tmp_path / "r.npz", **changes)
    status, out, _ = call("iris", "check", "--reference", tmp_path / "r.npz")
    assert status == 1
    assert line in out


def test_check_allows_single_values_where_their_noise_is_within_its_limit(call: Call, tmp_path: Path) -> None:
    for rms, status in ((0.09, 0), (0.07, 1)):  # two of three finite values are off by 0.1: sqrt(0.02 / 3) is 0.082
        limits = np.array([0.0, 0.0, rms])
        changes = {"one/outputs/probabilities": PROBABILITIES, "one/limits/probabilities": limits}
        save_reference(tmp_path / "r.npz", **changes)
        assert call("iris", "check", "--reference", tmp_path / "r.npz")[0] == status


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "not a reference of this model"),
        ({"one/inputs/float_input": np.zeros(1)}, "not a reference of this model"),
        ({"one/inputs/float_input": np.zeros(1), "one/outputs/label": np.zeros(1)}, "not a reference of this model"),
        ({"float_input": np.zeros(1)}, "not a reference: "),
        ({"one/other/float_input": np.zeros(1)}, "not a reference: "),
        ({"one/inputs/float_input": np.array([None])}, "not a reference: "),
        (None, "not a reference: "),
    ],
)
def test_check_refuses_what_is_no_reference(
    call: Call, tmp_path: Path, arrays: dict[str, np.ndarray] | None, message: str
) -> None:
    path = tmp_path / "r.npz"
    path.write_bytes(b"PK rubbish")
    if arrays is not None:
        np.savez(path, **arrays)
    status, out, error = call("iris", "check", "--reference", path)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"{path}: {message}")
