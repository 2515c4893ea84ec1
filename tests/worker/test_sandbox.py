"""What a task can do in a sandbox, for real; where bubblewrap is missing or forbidden these tests are skipped."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import Ended
from exporting import write_spec
from onnx_examples import RELU, make_model
from sandbox_tasks import Crash, LeaveDaemon, ReadProcesses, TellEnvironment, TryConnecting, TryFetching, TryPlaces

from onnxpack.core.errors import EngineError, SourceError
from onnxpack.worker.call import Setting, call
from onnxpack.worker.sandbox import find_paths, require_sandbox


def explain_absence() -> str:
    """Return why bubblewrap cannot be used here; empty if it can."""
    try:
        require_sandbox()
    except EngineError as error:
        return f"{error.problems[0].message}: {error.problems[0].hint}"
    return ""


ABSENCE = explain_absence()
real = pytest.mark.skipif(bool(ABSENCE), reason=ABSENCE or "it works")


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    for name in ("scratch", "out", "root", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "root/data.txt").write_text("data")
    (tmp_path / "other/secret.txt").write_text("secret")
    return Setting(tmp_path / "scratch", tmp_path / "out", root=tmp_path / "root", sandbox=True)


@real
def test_call_in_a_sandbox_sees_its_work_tree_and_writes_in_its_folder_alone(setting: Setting, tmp_path: Path) -> None:
    reads = tuple(str(tmp_path / name) for name in ("root/data.txt", "other/secret.txt"))
    writes = tuple(str(path) for path in (tmp_path / "root/new.txt", Path(__file__).parent / "new.txt", "/usr/new.txt"))
    found = call(TryPlaces(reads, writes), setting).result
    assert [found[path] for path in reads] == ["data", "FileNotFoundError"]
    assert [found[path] for path in writes] == ["OSError"] * 3
    assert (tmp_path / "out/result").read_text() == "mine"
    assert not any(Path(path).exists() for path in writes)


@real
def test_call_in_a_sandbox_hides_the_users_home(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    secret = str(tmp_path / "other/secret.txt")
    assert call(TryPlaces((secret,), ()), setting).result == {secret: "FileNotFoundError"}


@real
def test_call_in_a_sandbox_reaches_no_server(setting: Setting, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as daemon:
        port = server.getsockname()[1]
        assert call(TryConnecting(port), Setting(tmp_path / "scratch")).result == "connected"
        assert call(TryConnecting(port), setting).result == "ConnectionRefusedError"
        assert call(TryFetching(port), setting).result == "connected", "what fetches runs no model's code"
        place = tmp_path / "other/daemon"  # as a container engine's
        daemon.bind(str(place))
        daemon.listen()
        assert call(TryConnecting(0, str(place)), Setting(tmp_path / "scratch")).result == "connected"
        assert call(TryConnecting(0, str(place)), setting).result == "FileNotFoundError"


@real
def test_call_in_a_sandbox_has_nothing_of_the_environment_that_may_be_secret(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "DOCKER_HOST", "UV_INDEX_URL", "ANYTHING"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = call(TellEnvironment(), setting).result
    assert "canary" not in found.values()
    assert (found["OMP_NUM_THREADS"], found["PYTHONHASHSEED"]) == ("1", "0")
    assert Path(found["HOME"]).is_relative_to(setting.scratch)


@real
def test_call_in_a_sandbox_leaves_no_daemon(setting: Setting) -> None:
    assert setting.folder
    folder = setting.folder.rename(setting.folder.with_name("left-by-a-sandbox"))
    call(LeaveDaemon(), Setting(setting.scratch, folder, root=setting.root, sandbox=True))
    names = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            names.append(path.read_bytes())
        except OSError:
            continue  # it has just ended
    assert not [name for name in names if b"# left-by-a-sandbox" in name]


@real
def test_call_in_a_sandbox_tells_the_signal_that_ended_a_child(setting: Setting) -> None:
    with pytest.raises(SourceError, match=r"died: killed by SIGSEGV"):
        call(Crash(), setting)


NET = """
import os, pathlib, socket, torch

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

def make():
    found = {"secret": os.environ.get("TOKEN"), "home": pathlib.Path(HOME, "netrc").exists()}
    if any(found.values()):
        raise ValueError(str(found))
    return Net()
"""


@real
@pytest.mark.parametrize("sandbox", [True, False])
def test_a_build_in_a_sandbox_says_so_in_its_report(
    onnxpack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: bool
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "netrc").write_text("password canary")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TOKEN", "canary" if sandbox else "")
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(work)
    (work / "model.py").write_text(NET.replace("HOME", repr(str(home if sandbox else work))))
    write_spec(work, {"framework": "torch", "factory": "model.py:make", "weights": "none"})
    options = ["--sandbox"] if sandbox else []
    ended: Ended = onnxpack("build", "spec.yaml", "--until", "optimize", *options)
    assert ended.code == 0, ended.err
    (report,) = work.glob("dist/*/*/report.json")
    assert json.loads(report.read_text())["sandbox"] == ("bubblewrap" if sandbox else "none")


@pytest.mark.parametrize(
    ("program", "words"),
    [("", "the program bwrap is not installed"), ("echo denied >&2; exit 1", "does not work here")],
)
def test_a_verb_without_bubblewrap_says_what_to_install(
    onnxpack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    if program:
        (tmp_path / "bwrap").write_text(f"#!{shutil.which('sh')}\n{program}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for verb in ("build", "verify", "bench", "init", "inspect", "convert"):
        options = ("--to", "tflite") if verb == "convert" else ()
        ended: Ended = onnxpack(verb, "--sandbox", *options, "spec.yaml")
        assert ended.code == 5
        assert words in ended.err
        assert "leave out --sandbox" in ended.err


STAND_IN = """\
#!/bin/sh
echo "$@" >> LOG
while :; do
  case $1 in
    --ro-bind | --bind | --dev-bind) shift 3 ;;
    --tmpfs | --dev | --proc) shift 2 ;;
    --*) shift ;;
    *) exec "$@" ;;
  esac
done
"""
"""Takes the place of bubblewrap, hides nothing, and writes down what it is asked."""


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--from", "model.py:make", "--input", "x:float32:n,4", "--force"),
        ("init", "model.onnx", "--force"),
        ("inspect", "model.onnx"),
        ("inspect", "bundle"),
    ],
    ids=" ".join,
)
def test_a_verb_that_looks_into_models_does_so_in_a_sandbox(
    onnxpack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "bin").mkdir()
    log, work = tmp_path / "log", tmp_path / "work"
    (tmp_path / "bin/bwrap").write_text(STAND_IN.replace("LOG", str(log)))
    (tmp_path / "bin/bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (work / "bundle").mkdir(parents=True)
    onnx.save(make_model(RELU), work / "model.onnx")
    onnx.save(make_model(RELU), work / "bundle/model.onnx")
    (work / "model.py").write_text(NET.replace("HOME", repr(str(work))))
    (work / "spec.yaml").touch()  # what stands there already is not all that is shown
    monkeypatch.chdir(work)
    ended: Ended = onnxpack(*arguments)
    assert ended.code == 0, ended.err
    assert not log.exists()
    ended = onnxpack(*arguments, "--sandbox")
    assert ended.code == 0, ended.err
    probe, *calls = log.read_text().splitlines()
    assert probe.endswith(" /bin/true")
    (call_,) = calls
    shown = f"--ro-bind {work}"
    assert f"{shown} " in call_ or f"{shown}/{arguments[1]}" in call_, "the model itself is not hidden"
    assert "--unshare-all" in call_


@real
def test_init_in_a_sandbox_runs_the_code_without_network_and_home(
    onnxpack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "home/work"
    work.mkdir(parents=True)
    (home / "netrc").write_text("password canary")
    monkeypatch.setenv("HOME", str(home))
    (work / "model.py").write_text(NET.replace("HOME", repr(str(home))))
    (work / "spec.yaml").touch()
    monkeypatch.chdir(work)
    arguments = ("init", "--from", "model.py:make", "--input", "x:float32:n,4", "--force")
    ended: Ended = onnxpack(*arguments)
    assert ended.code == 3
    assert "'home': True" in ended.err
    ended = onnxpack(*arguments, "--sandbox")
    assert ended.code == 0, ended.err


@real
def test_call_in_a_sandbox_shows_nothing_of_the_processes_around_it(setting: Setting) -> None:
    # What a process has in /proc is what it was started with.
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": "canary"}
    with subprocess.Popen([sys.executable, "-c", "input()  # canary"], stdin=subprocess.PIPE, env=environment) as other:
        outside = call(ReadProcesses(), Setting(setting.scratch)).result
        found = call(ReadProcesses(), setting).result
        other.communicate(b"\n")
    assert sum("canary" in text for text in outside.texts) >= 2, "else this test could not fail"
    assert found.texts
    assert not any("canary" in text for text in found.texts)
    assert set(found.descriptors) <= {0, 1, 2}, "what is open in the build is not handed on"


def test_find_paths_of_a_request_gives_files_with_their_external_data(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.onnx.data"):
        (tmp_path / name).touch()
    request = {"a": (tmp_path / "m.onnx",), "b": [tmp_path / "new/file"]}
    assert sorted(find_paths(request)) == [tmp_path / "m.onnx", tmp_path / "m.onnx.data", tmp_path / "new"]


def test_find_paths_of_a_link_gives_what_it_leads_to_as_well(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    (tmp_path / "m.onnx").symlink_to("blob")
    assert sorted(find_paths([tmp_path / "m.onnx"])) == [tmp_path / "blob", tmp_path / "m.onnx"]
