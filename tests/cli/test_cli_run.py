"""`onnxpack run` serves a bundle until it is told to stop, and says plainly what it cannot serve."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import bundles
import pytest
from bundles import leave_tag, write_bundle
from command_line import Ended
from listening import listen

ONNXPACK = Path(sysconfig.get_path("scripts")) / "onnxpack"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def running(tmp_path: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [ONNXPACK, "run", write_bundle(tmp_path / "bundle"), "--port", str(port)]
    environment = {**os.environ, "ONNXPACK_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=listen
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bundle_is_served_until_a_signal_comes(
    running: "subprocess.Popen[str]", port: int, number: signal.Signals
) -> None:
    assert running.stdout
    words = shlex.split(running.stdout.readline())
    assert words[:3] == ["curl", "-s", f"localhost:{port}/predict"]
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/predict", words[-1])
    answer = connection.getresponse()
    assert answer.status == 200
    assert list(json.loads(answer.read())) == ["score"]
    connection.close()
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "")
    assert err == f"transactions 1.4.0: port {port}, 2 threads\nready on port {port}; ctrl-C ends it\n"


def test_a_server_ends_with_a_command_that_is_killed(running: "subprocess.Popen[str]", port: int) -> None:
    assert running.stdout
    assert running.stdout.readline()
    running.kill()
    running.communicate(timeout=60)  # until nobody holds its stderr any more, which the server does
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")  # of a socket that is not there the SDK leaves one open


def refused(ended: Ended, code: int, *words: str) -> None:
    assert (ended.code, ended.out) == (code, "")
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def test_a_port_that_is_taken_is_told(onnxpack: Callable[..., Ended], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(onnxpack("run", write_bundle(tmp_path), "--port", str(port)), 5, f"port {port} is taken", "--port")


def test_what_is_nothing_to_serve_is_told(onnxpack: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    refused(onnxpack("run", tmp_path / "model.onnx"), 2, "this file has no server", "dist/NAME/TARGET")
    refused(onnxpack("run", tmp_path), 2, "there is no spec in this folder")
    refused(
        onnxpack("run", "no-such-image"), 5, "'no-such-image' is no file or folder", "onnxpack run dist/NAME/TARGET"
    )


def test_a_bundle_for_another_python_is_run_from_its_image(onnxpack: Callable[..., Ended], tmp_path: Path) -> None:
    leave_tag(write_bundle(tmp_path), "cpython-399-x86_64")
    refused(onnxpack("run", tmp_path), 5, "the bundle needs Python 3.99 for x86_64, and this machine has none")
    (tmp_path / "report.json").write_text(json.dumps({"image": {"reference": "iris:1.0.0-cpu"}}))
    refused(
        onnxpack("run", tmp_path), 5, "no Python 3.99 for x86_64 is here: running iris:1.0.0-cpu", "no Docker engine"
    )


def test_one_target_of_one_spec_is_served(onnxpack: Callable[..., Ended], project: Path) -> None:
    spec = project / "spec.yaml"
    spec.write_text(f"{spec.read_text()}targets:\n  a: {{device: cpu}}\n  b: {{device: cpu}}\n")
    refused(onnxpack("run", spec), 2, "the spec has several targets", "name one of them by --target: a, b")
    refused(onnxpack("run", spec, "--target", "c"), 2, "there is no target 'c'")
    (project / "other.yaml").write_text(spec.read_text())
    refused(onnxpack("run", project), 2, "holds 2 specs")


BUILT = """
import sys
from pathlib import Path
from onnxpack.cli import main
from onnxpack.pipeline import attempt
from bundles import write_bundle

def build(run, wanted):
    print("until", wanted.until, run.plan.target, file=sys.stderr)
    write_bundle(run.plan.output)
    return type("Attempt", (), {"error": None})

attempt.build = build
sys.argv = ["onnxpack", *sys.argv[1:]]
main()
"""


def test_a_spec_is_built_outside_of_dist_and_served(project: Path, port: int, tmp_path: Path) -> None:
    """What a build makes is tested elsewhere: here its place and its end count."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment: dict[str, Any] = {**os.environ, "ONNXPACK_CACHE": str(tmp_path / "cache"), "TMPDIR": str(temporary)}
    environment["PYTHONPATH"] = str(Path(bundles.__file__).parent)
    command = [sys.executable, "-c", BUILT, "run", "spec.yaml", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=project,
        preexec_fn=listen,
    ) as process:  # fmt: skip
        assert process.stdout
        assert "localhost" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "until bundle cpu" in err
    assert sorted(path.name for path in project.iterdir()) == ["model.onnx", "spec.yaml"]
    assert list(temporary.iterdir()) == []
