"""The lock beside a spec: it says what it said, knows when it is stale, and nothing in it can become an option."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.lock import LockedBase, Package, TargetLock, lock_path, make_unresolved_lock, read, write
from onnxpack.core.errors import SpecError
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec

SHA = "0123456789abcdef" * 4
PACKAGES = (
    Package("httptools", "0.9.0", (SHA,)),
    Package("numpy", "2.4.6", (SHA, SHA[::-1])),
    Package("onnxruntime", "1.31.1", (SHA,), ("flatbuffers", "numpy", "packaging", "protobuf")),
    Package("orjson", "3.12.0", (SHA,)),
)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Spec]:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return lambda **fields: write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).spec


@pytest.fixture
def targets(spec: Callable[..., Spec]) -> dict[str, TargetLock]:
    return {"cpu": replace(make_unresolved_lock(spec(), "cpu"), packages=PACKAGES)}


def test_what_is_written_is_read(tmp_path: Path, targets: dict[str, TargetLock]) -> None:
    path = lock_path(tmp_path / "iris.yaml")
    assert path.name == "iris.lock"
    write(path, targets)
    assert read(path) == targets
    assert next(one.files for one in read(path)["cpu"].packages) == ("httptools-0.9.0-1-py3-none-any.whl",)
    text = path.read_text()
    write(path, dict(reversed([*targets.items()])))
    assert path.read_text() == text
    assert "http" not in text.replace("httptools", "")
    assert sorted(path.name for path in tmp_path.glob("*lock*")) == ["iris.lock"]


@pytest.mark.parametrize(
    ("reference", "pinned"),
    [
        ("python", "python"),
        ("python:3.11-slim", "python"),
        ("localhost:5000/python", "localhost:5000/python"),
        ("localhost:5000/a/python:3", "localhost:5000/a/python"),
    ],
)
def test_a_pinned_base_is_written_read_and_named(
    tmp_path: Path, targets: dict[str, TargetLock], reference: str, pinned: str
) -> None:
    base = LockedBase(reference, f"sha256:{SHA}")
    entries = {"cpu": replace(targets["cpu"], base=base)}
    write(tmp_path / "iris.lock", entries)
    assert read(tmp_path / "iris.lock") == entries
    assert base.pinned == f"{pinned}@sha256:{SHA}"


def test_a_failed_write_keeps_the_old_lock(
    tmp_path: Path, targets: dict[str, TargetLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "iris.lock"
    write(path, targets)
    before = path.read_text()

    def full(self: Path, *arguments: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, {})
    assert path.read_text() == before
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"name": "other", "opset": 18}, []),
        ({"image": {"python": "3.12"}}, ["cpu"]),
        ({"runtime": {"server": "none"}}, ["cpu"]),
        ({"runtime": {"server": "http+grpc"}}, ["cpu"]),
        ({"targets": {"cpu": {"device": "cuda"}}}, ["cpu"]),
        ({"image": {"requirements": ["prometheus-client>=0.21"]}}, ["cpu"]),
        ({"targets": {"cpu": {}, "gpu": {"device": "cuda"}}}, ["gpu"]),
    ],
)
def test_a_lock_is_stale_for_another_question(
    spec: Callable[..., Spec], targets: dict[str, TargetLock], fields: dict[str, Any], expected: list[str]
) -> None:
    assert list(find_stale(spec(**fields), targets)) == expected


def test_a_lock_is_stale_when_requirements_change(spec: Callable[..., Spec], targets: dict[str, TargetLock]) -> None:
    changed = replace(targets["cpu"], requirements=("numpy<1", *targets["cpu"].requirements[1:]))
    assert list(find_stale(spec(), {"cpu": changed})) == ["cpu"]
    assert list(find_stale(spec(), {"cpu": replace(targets["cpu"], platform="linux/arm64")})) == ["cpu"]


def test_requirements_depend_on_the_device_and_the_server(spec: Callable[..., Spec]) -> None:
    fields = {"targets": {"cpu": {}, "gpu": {"device": "cuda"}}}
    assert [text.partition(">")[0] for text in make_unresolved_lock(spec(**fields), "cpu").requirements] == [
        "httptools",
        "numpy",
        "onnxruntime",
        "orjson",
    ]
    both = spec(runtime={"server": "http+grpc"}, **fields)
    assert [text.partition(">")[0] for text in make_unresolved_lock(both, "cpu").requirements] == [
        "grpcio",
        "httptools",
        "numpy",
        "onnxruntime",
        "orjson",
    ]
    bare = spec(runtime={"server": "none"}, **fields)
    assert [text.partition(">")[0] for text in make_unresolved_lock(bare, "gpu").requirements] == [
        "numpy",
        "onnxruntime-gpu[cuda,cudnn]",
    ]


def test_a_lock_of_a_spec_that_adds_nothing_is_what_it_was(spec: Callable[..., Spec]) -> None:
    assert make_unresolved_lock(spec(image={"requirements": []}), "cpu") == make_unresolved_lock(spec(), "cpu")


def test_what_is_added_is_asked_for_once(spec: Callable[..., Spec]) -> None:
    asked = make_unresolved_lock(spec(image={"requirements": ["orjson>=3.10", "Prometheus_Client >= 0.21"]}), "cpu")
    assert [line for line in asked.requirements if "or" in line.partition(">")[0] or "lient" in line] == [
        "Prometheus_Client >= 0.21", "orjson>=3.10",
    ]  # fmt: skip
    assert len(asked.requirements) == 5


def good() -> Any:
    package = {"version": "2.4.6", "requires": [], "wheels": {"numpy-2.4.6-py3-none-any.whl": SHA}}
    fields = {"device": "cpu", "platform": "linux/amd64", "python": "3.11", "requirements": ["numpy"]}
    runtimes = {RUNTIME: {**fields, "packages": {"numpy": package}}}
    return {"onnxpack-lock": 3, "targets": {"cpu": RUNTIME}, "runtimes": runtimes}


def broken(*path: Any, value: Any) -> str:
    """A good lock with one place changed."""
    data = inner = good()
    for step in path[:-1]:
        inner = inner[step]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(data)


RUNTIME = "cpu linux/amd64"
ENTRY = ("runtimes", RUNTIME)
PACKAGE = (*ENTRY, "packages", "numpy")
BASE = (*ENTRY, "base")
BROKEN = {
    "empty": "",
    "text": "onnxpack lock",
    "list": "[]",
    "number": "7",
    "deep": "[" * 200_000,
    "truncated": json.dumps(good())[:-30],
    "format": broken("onnxpack-lock", value=1),
    "no format": broken("onnxpack-lock", value=KeyError),
    "no targets": broken("targets", value=KeyError),
    "targets": broken("targets", value=[]),
    "target": broken("targets", "cpu", value=None),
    "another target": broken("targets", "cpu", value="cpu linux/arm64"),
    "no runtime": broken("runtimes", value={}),
    "runtime of another name": broken(*ENTRY, "device", value="cuda"),
    "no python": broken(*ENTRY, "python", value=KeyError),
    "unknown key": broken(*ENTRY, "pyhton", value="3.11"),
    "packages": broken(*ENTRY, "packages", value=["numpy"]),
    "name": broken(*ENTRY, "packages", value={"": good()["runtimes"][RUNTIME]["packages"]["numpy"]}),
    "option as a name": broken(*PACKAGE[:-1], "--index-url", value=good()["runtimes"][RUNTIME]["packages"]["numpy"]),
    "two lines": broken(*PACKAGE, "version", value="2.4.6\n--extra-index-url x"),
    "line's end": broken(*PACKAGE, "version", value="2.4.6\n"),
    "url": broken(*PACKAGE, "version", value="2 @ file:///tmp/x.whl"),
    "no hashes": broken(*PACKAGE, "wheels", value={}),
    "hash": broken(*PACKAGE, "wheels", "numpy-2.4.6-py3-none-any.whl", value=SHA[:-1]),
    "hash and more": broken(*PACKAGE, "wheels", "numpy-2.4.6-py3-none-any.whl", value=f"{SHA} --no-binary"),
    "hash as text": broken(*PACKAGE, "wheels", value=SHA),
    "wheel's name": broken(*PACKAGE, "wheels", "../numpy-2.4.6-py3-none-any.whl", value=SHA),
    "requires": broken(*PACKAGE, "requires", value=["x @ file:///x.whl"]),
    "requires nothing known": broken(*PACKAGE, "requires", value=KeyError),
    "base": broken(*BASE, value="python"),
    "base without a digest": broken(*BASE, value={"reference": "python"}),
    "base with two digests": broken(*BASE, value={"reference": f"a@sha256:{SHA}", "digest": f"sha256:{SHA}"}),
    "digest of a base": broken(*BASE, value={"reference": "python", "digest": f"sha256:{SHA[1:]}"}),
    "instruction in a base": broken(*BASE, value={"reference": "python\nRUN x", "digest": f"sha256:{SHA}"}),
    "source": broken("sources", value={"m.onnx": "0"}),
    "tool": broken("tools", value={"onnx": 1}),
    "tolerance": broken("tolerances", value={"float32": "rtol 1"}),
}


@pytest.mark.case("B12")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_lock_that_was_edited_by_hand_names_its_cure(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "iris.lock"
    path.write_text(BROKEN[kind])
    with pytest.raises(SpecError) as refused:
        read(path)
    (problem,) = refused.value.problems
    assert problem.message.startswith("it is not a lock of this onnxpack version: ")
    assert problem.message.removeprefix("it is not a lock of this onnxpack version: ")
    assert problem.hint == f"run `onnxpack lock {tmp_path / 'iris.yaml'}`"
    assert problem.where
    assert problem.where.file == str(path)


def test_lock_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="it is not a lock of this onnxpack version: No such file or directory"):
        read(tmp_path / "iris.lock")
    (tmp_path / "iris.lock").mkdir()
    with pytest.raises(SpecError, match="it is not a lock of this onnxpack version: it is not a regular file"):
        read(tmp_path / "iris.lock")
    (tmp_path / "binary.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="it is not a lock of this onnxpack version: "):
        read(tmp_path / "binary.lock")


def test_the_example_locks_are_fresh() -> None:
    for path in sorted(Path(__file__).parents[2].glob("specs/*/spec.lock")):
        assert find_stale(load(path.with_suffix(".yaml")).spec, read(path)) == {}
        assert all(package.requirement().count("--hash=sha256:") == 1 for package in read(path)["cpu"].packages)
