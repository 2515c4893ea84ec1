"""``onnxpack build --scheduler``: what is refused before anything is sent, and a scheduler that is not there."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from command_line import Ended
from onnx_examples import RELU, make_model

Run = Callable[..., Ended]


@pytest.fixture
def spec(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    onnx.save(make_model(RELU), project / "model.onnx")
    return project / "spec.yaml"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--jobs", "2"), "--jobs is for builds on this machine"),
        (("--keep-last",), "--keep-last puts outputs into this machine's store"),
        (("--engine", "docker"), "with --scheduler the engine docker leaves images on the workers"),
    ],
)
def test_what_holds_for_this_machine_alone_is_refused(
    spec: Path, onnxpack: Run, options: tuple[str, ...], words: str
) -> None:
    ended = onnxpack("build", spec, "--scheduler", "dask://127.0.0.1:1", *options)
    assert ended.code == 2
    assert words in ended.err


def test_an_address_that_is_none_is_told_with_an_example(spec: Path, onnxpack: Run) -> None:
    ended = onnxpack("build", spec, "--scheduler", "127.0.0.1:8786", "--until", "export")
    assert ended.code == 2
    assert "error: '127.0.0.1:8786' is no scheduler" in ended.err
    assert "dask://10.0.0.5:8786" in ended.err


def test_without_dask_the_extra_is_named(spec: Path, onnxpack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    ended = onnxpack("build", spec, "--scheduler", "dask://127.0.0.1:1", "--until", "export")
    assert ended.code == 2
    assert "pip install 'onnxpack[dask]'" in ended.err


def test_a_scheduler_that_does_not_answer_is_an_error_of_the_network(spec: Path, onnxpack: Run) -> None:
    with socket.socket() as taken:  # nobody listens there, and nobody else takes the port
        taken.bind(("127.0.0.1", 0))
        url = f"dask://127.0.0.1:{taken.getsockname()[1]}"
        ended = onnxpack("build", spec, "--scheduler", url, "--until", "export")
    assert ended.code == 5
    assert f"no scheduler of Dask answers at {url}" in ended.err
    assert "Traceback" not in ended.err
    assert not Path("dist").exists()
