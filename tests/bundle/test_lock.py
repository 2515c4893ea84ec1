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

from onnxpack.bundle import lock
from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.lock import LockedBase, Package, TargetLock, lock_path, make_unresolved_lock, read, write
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec
from onnxpack.worker.uv import run_uv

SHA = "0123456789abcdef" * 4
NUMPY = Package("numpy", "2.4.6", (SHA, SHA[::-1]))
PACKAGES = (
    NUMPY,
    Package("httptools", "0.9.0", (SHA,)),
    Package("orjson", "3.12.0", (SHA,)),
    Package("onnxruntime", "1.31.1", (SHA,), ("flatbuffers", "numpy", "packaging", "protobuf")),
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
    package = {"name": "numpy", "version": "2.4.6", "requires": [], "sha256": [SHA]}
    entry = {"python": "3.11", "platform": "linux/amd64", "requirements": ["numpy"], "packages": [package]}
    return {"onnxpack-lock": 2, "targets": {"cpu": entry}}


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


PACKAGE = ("targets", "cpu", "packages", 0)
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
    "no python": broken("targets", "cpu", "python", value=KeyError),
    "packages": broken("targets", "cpu", "packages", value={"numpy": "2"}),
    "name": broken(*PACKAGE, "name", value=5),
    "option as a name": broken(*PACKAGE, "name", value="--index-url"),
    "two lines": broken(*PACKAGE, "version", value="2.4.6\n--extra-index-url x"),
    "url": broken(*PACKAGE, "version", value="2 @ file:///tmp/x.whl"),
    "no hashes": broken(*PACKAGE, "sha256", value=[]),
    "hash": broken(*PACKAGE, "sha256", value=[SHA[:-1]]),
    "hash as text": broken(*PACKAGE, "sha256", value=SHA),
    "requires": broken(*PACKAGE, "requires", value=["x @ file:///x.whl"]),
    "requires nothing known": broken(*PACKAGE, "requires", value=KeyError),
    "twice": broken("targets", "cpu", "packages", value=[*good()["targets"]["cpu"]["packages"] * 2]),
    "base": broken("targets", "cpu", "base", value="python"),
    "base without a digest": broken("targets", "cpu", "base", value={"reference": "python"}),
    "base with two digests": broken(
        "targets", "cpu", "base", value={"reference": f"a@sha256:{SHA}", "digest": f"sha256:{SHA}"}
    ),
    "digest of a base": broken("targets", "cpu", "base", value={"reference": "python", "digest": f"sha256:{SHA[1:]}"}),
    "instruction in a base": broken(
        "targets", "cpu", "base", value={"reference": "python\nRUN x", "digest": f"sha256:{SHA}"}
    ),
    "no base": broken("targets", "cpu", "base", value=None),
    "hash and more": broken(*PACKAGE, "sha256", value=[f"{SHA} --no-binary"]),
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
        assert all(package.requirement().count("--hash=sha256:") for package in read(path)["cpu"].packages)


LISTED = f"""\
numpy==2.4.6 \\
    --hash=sha256:{SHA[::-1]} \\
    --hash=sha256:{SHA}
    # via -r requirements.txt, onnxruntime
onnxruntime==1.31.1 \\
    --hash=sha256:{SHA}
    # via -r requirements.txt
protobuf==7.0 \\
    --hash=sha256:{SHA}
    # via onnxruntime
"""


def test_resolve_sorts_packages_and_asks_for_the_images_python(
    spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(*arguments: str, what: str) -> str:
        asked.extend(arguments)
        return LISTED

    monkeypatch.setattr(lock, "run_uv", answer)
    found = lock.resolve(spec(image={"python": "3.12"}), "cpu")
    assert found.packages == (
        Package("numpy", "2.4.6", tuple(sorted((SHA, SHA[::-1])))),
        Package("onnxruntime", "1.31.1", (SHA,), ("numpy", "protobuf")),
    ), "what onnxruntime declares and a session never imports is not locked"
    assert found.python == "3.12"
    assert asked[asked.index("--python-version") + 1] == "3.12"
    assert "--generate-hashes" in asked


def test_resolve_keeps_an_unused_package_that_an_added_one_requires(
    spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = f"{LISTED}extra==1 \\\n    --hash=sha256:{SHA}\n    # via -r requirements.txt\n".replace(
        "# via onnxruntime\n", "# via extra, onnxruntime\n"
    )
    monkeypatch.setattr(lock, "run_uv", lambda *arguments, what: listed)
    found = lock.resolve(spec(image={"requirements": ["extra"]}), "cpu")
    assert [package.name for package in found.packages] == ["extra", "numpy", "onnxruntime", "protobuf"]


def test_resolve_refuses_a_second_onnxruntime(spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = f"{LISTED}extra==1 \\\n    --hash=sha256:{SHA}\n    # via -r requirements.txt\n".replace(
        "onnxruntime==1.31.1", "onnxruntime-gpu==1.31.1"
    )
    listed += f"onnxruntime==1.31.1 \\\n    --hash=sha256:{SHA}\n    # via extra\n"
    monkeypatch.setattr(lock, "run_uv", lambda *arguments, what: listed)
    added = spec(targets={"cpu": {"device": "cuda"}}, image={"requirements": ["extra"]})
    with pytest.raises(SpecError, match="extra requires onnxruntime, which fills the folder of onnxruntime-gpu"):
        lock.resolve(added, "cpu")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("error sending request for url", "check the network"),
        ("Hash mismatch for numpy", "onnxpack lock SPEC"),
        ("No solution found", "uv's reason"),
        ("something else", "the end of uv's output"),
    ],
)
def test_resolve_that_fails_shows_what_uv_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, hint: str
) -> None:
    failing = tmp_path / "uv"
    failing.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(failing))
    with pytest.raises(EngineError) as told:
        run_uv("pip", "compile", what="resolve")
    (problem,) = told.value.problems
    assert hint in problem.hint
    assert problem.detail == words
