"""`onnxpack run` serves an image, and what a build left, until ctrl-C; nothing stays."""

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from e2e_tools import PATIENCE, Built, Running, Workshop, fails


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["image", "bundle", "spec"])
def running(request: pytest.FixtureRequest, iris: Built, workshop: Workshop, port: int) -> Iterator[Running]:
    what = {"image": iris.reference, "bundle": iris.output, "spec": iris.spec}[request.param]
    started = workshop.start("run", what, "--port", str(port))
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def wait_for_command(running: Running) -> list[str]:
    """Return the words of the command that is told when the server is ready."""
    end = time.monotonic() + PATIENCE
    while not (text := (running.logs / "out").read_text()).endswith("\n"):
        assert running.process.poll() is None, (running.logs / "err").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    return shlex.split(text)


def list_containers(engine: Any) -> list[str]:
    return [name for one in engine.containers(all=True) for name in one["Names"] if "onnxpack-run" in name]


def test_a_server_is_told_of_answers_and_ends_by_ctrl_c(running: Running, engine: Any, iris: Built, port: int) -> None:
    command = wait_for_command(running)
    assert command[:3] == ["curl", "-s", f"localhost:{port}/predict"]
    answer = subprocess.run(command, capture_output=True, check=True)
    assert set(json.loads(answer.stdout)) == {"label", "probabilities"}
    os.killpg(running.process.pid, signal.SIGINT)
    ended = running.finish()
    assert ended.code == 0, ended.err
    assert "iris 1.0.0: port" in ended.err, "the server's log"
    assert ended.out.count("\n") == 1
    assert list_containers(engine) == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_an_image_that_is_not_there_is_told(workshop: Workshop, engine: Any) -> None:
    fails(workshop.run("run", "no/such-image:1"), 2, "is neither a file nor an image that the engine has")
