"""A bundle is served by a Python of its image's version, with its own packages and variables and nothing else."""

import json
import platform
import socket
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from bundles import DOCKERFILE, leave_tag, write_bundle
from serving import request, wait_until

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.serve.bundle import BundleServer, find_python, make_environment, read_bundle
from onnxpack.serve.server import require_free

MINE = f"cpython-3{sys.version_info[1]}-{platform.machine()}"


def test_a_bundle_says_its_port_and_its_python(tmp_path: Path) -> None:
    bundle = read_bundle(leave_tag(write_bundle(tmp_path), "cpython-313-aarch64"))
    assert (bundle.port, bundle.minor, bundle.machine) == (8080, 13, "aarch64")
    assert bundle.context == tmp_path / "context"
    assert bundle == read_bundle(tmp_path / "context"), "the context itself will do"
    assert (bundle.app / "server.py").is_file()


def test_variables_are_the_image_s_with_the_bundle_s_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    bundle = read_bundle(leave_tag(write_bundle(tmp_path), MINE))
    assert make_environment(bundle, 99) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent",
        "PYTHONPATH": f"{bundle.app}:{bundle.lib}", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1", "ONNXPACK_PORT": "99",
    }  # fmt: skip


def test_this_interpreter_is_taken_if_it_fits_and_another_on_the_path_if_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minor = sys.version_info[1] + 1
    mine = read_bundle(leave_tag(write_bundle(tmp_path / "a"), MINE))
    next_one = read_bundle(leave_tag(write_bundle(tmp_path / "b"), f"cpython-3{minor}-{platform.machine()}"))
    foreign = read_bundle(leave_tag(write_bundle(tmp_path / "c"), f"cpython-3{sys.version_info[1]}-riscv64"))
    program = tmp_path / "bin" / f"python3.{minor}"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    assert [find_python(bundle) for bundle in (mine, next_one, foreign)] == [Path(sys.executable), None, None]
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    assert find_python(next_one) is None, "a version manager's program for a version that is not installed"
    program.write_text("#!/bin/sh\nexit 0\n")
    assert find_python(next_one) == program


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "context/Dockerfile").unlink(), "there is no build context in this folder"),
        (lambda folder: (folder / "context/rootfs/model/opt/onnxpack/app/server.py").unlink(), "without a server"),
        (lambda folder: leave_tag(folder, "abi3-x86_64"), "no package of this bundle says which Python"),
        (
            lambda folder: (folder / "context/Dockerfile").write_text(DOCKERFILE.replace("EXPOSE 8080", "")),
            "without a server",
        ),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, spoil: object, words: str) -> None:
    write_bundle(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(SpecError, match=words) as failed:
        read_bundle(tmp_path)
    (problem,) = failed.value.problems
    assert problem.hint
    assert problem.where
    assert problem.where.file == str(tmp_path)


def test_a_bundle_answers_and_stops_when_it_is_asked_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = read_bundle(write_bundle(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = BundleServer(bundle, Path(sys.executable), port)
    server.stop()
    assert server.poll() is None, "it was not started"
    server.start()

    def answers() -> bool:
        try:
            require_free(port)
        except EngineError:
            return True
        return server.poll() is not None

    try:
        wait_until(answers)
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v2/models/transactions/infer", json.dumps(request()))
        assert json.loads(connection.getresponse().read())["outputs"][0]["data"] == [54.0]
        connection.close()
    finally:
        server.stop()
    assert server.poll() == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"transactions 1.4.0: port {port}, 2 threads\n")
