"""`onnxpack push` takes every form that an image has here, and its stdout is what a deployment pins."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_registry import Fault, faulty
from listening import listen
from registries import Served, add_image, running_registry

from onnxpack.image import IMAGES
from onnxpack.image.oci import OciEngine
from onnxpack.oci.archive import write_archive
from onnxpack.oci.layout import Layout
from onnxpack.oci.pull import resolve
from onnxpack.oci.reference import parse_reference

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Where the engine without a daemon has its images."""
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return Layout(tmp_path / "store" / IMAGES)


def write_tar(layout: Layout, path: Path, *names: str) -> str:
    entry = add_image(layout, 31)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(layout, entry, layout.read_manifest(entry), names, path)
    return entry.digest


def test_an_archive_is_pushed_under_the_names_that_it_has(registry: Served, engine: Layout, onnxpack: Run) -> None:
    names = [f"{registry.host}/own/iris:{tag}" for tag in ("1", "2")]
    digest = write_tar(engine, Path("image.tar"), *names)
    ended = onnxpack("push", "image.tar")
    assert (ended.code, ended.out) == (0, f"{registry.host}/own/iris@{digest}\n"), ended.err
    assert [resolve(parse_reference(name), "linux/amd64").digest for name in names] == [digest] * 2


def test_an_archive_is_pushed_under_other_names(registry: Served, engine: Layout, onnxpack: Run) -> None:
    digest = write_tar(engine, Path("dist/iris/cpu/image.tar"), "iris:1")
    names = [f"{registry.host}/a/iris:1", f"{registry.host}/b/iris", f"{registry.host}/b/iris:9"]
    ended = onnxpack("push", "dist/iris/cpu", *names)
    assert ended.out.splitlines() == [f"{registry.host}/{part}/iris@{digest}" for part in "ab"], ended.err
    assert "image.tar" not in ended.out


def test_a_layout_is_pushed_as_it_is(registry: Served, tmp_path: Path, onnxpack: Run) -> None:
    layout = Layout(tmp_path / "layout")
    entry = add_image(layout, 32)
    layout.name(f"{registry.host}/layout:1", entry)
    ended = onnxpack("push", tmp_path / "layout")
    assert ended.out == f"{registry.host}/layout@{entry.digest}\n", ended.err
    layout.name("another", add_image(layout, 33))
    assert "holds several images: " in onnxpack("push", tmp_path / "layout").err


def test_an_image_of_the_engine_is_pushed_by_its_name(registry: Served, engine: Layout, onnxpack: Run) -> None:
    entry = add_image(engine, 34)
    engine.name(f"{registry.host}/named:1", entry)
    ended = onnxpack("push", f"{registry.host}/named:1", "--engine", "oci")
    assert ended.out == f"{registry.host}/named@{entry.digest}\n", ended.err


def test_a_bundle_is_pushed_from_the_engine_that_has_its_image(
    registry: Served, engine: Layout, tmp_path: Path, onnxpack: Run
) -> None:
    entry = add_image(engine, 35)
    engine.name(f"{registry.host}/bundled:1", entry)
    known = OciEngine(engine).find(f"{registry.host}/bundled:1")
    assert known
    image = {"id": known.id, "references": [f"{registry.host}/bundled:1"]}
    (tmp_path / "report.json").write_text(json.dumps({"image": image}))
    ended = onnxpack("push", tmp_path, "--engine", "oci")
    assert ended.out == f"{registry.host}/bundled@{entry.digest}\n", ended.err


@pytest.mark.parametrize("text", ["", "[]", '{"image": {}}', '{"image": null}'])
def test_what_has_no_image_is_refused(tmp_path: Path, onnxpack: Run, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    ended = onnxpack("push", tmp_path)
    assert ended.code == 2
    assert "report.json: " in ended.err
    assert "→" in ended.err


def test_a_name_without_a_registry_is_not_pushed_to_docker_hub(engine: Layout, onnxpack: Run) -> None:
    write_tar(engine, Path("image.tar"), "iris:1")
    ended = onnxpack("push", "image.tar")
    assert (ended.code, ended.out) == (2, "")
    assert "'docker.io/library/iris:1' names no registry" in ended.err or "'iris:1' names no registry" in ended.err
    ended = onnxpack("push", "image.tar", "iris")
    assert "'iris' names no registry" in ended.err
    assert "registry.example.com/team/iris" in ended.err


def test_an_unknown_image_is_told(engine: Layout, onnxpack: Run) -> None:
    ended = onnxpack("push", "registry.example.com/none:1", "--engine", "oci")
    assert ended.code == 2
    assert "neither a path nor an image that the engine has" in ended.err


@pytest.mark.case("B4")
def test_a_registry_that_cannot_be_reached_is_an_error(engine: Layout, onnxpack: Run) -> None:
    write_tar(engine, Path("image.tar"))
    assert onnxpack("push", "image.tar").code == 2
    ended = onnxpack("push", "image.tar", "127.0.0.1:1/team/iris:1")
    assert (ended.code, ended.out) == (5, "")
    assert "cannot push to 127.0.0.1:1/team/iris: 127.0.0.1:1 cannot be reached: Connection refused" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.case("B14")
@pytest.mark.parametrize("of", ["PATCH|PUT /v2/.*/uploads", "PUT /v2/.*/manifests"])
def test_ctrl_c_ends_a_push_that_waits(registry: Served, engine: Layout, tmp_path: Path, of: str) -> None:
    write_tar(engine, tmp_path / "image.tar")
    with faulty(registry.host) as proxy:
        proxy.faults = [Fault(of, "503 Retry-After 30", times=99)]
        command = [sys.executable, "-m", "onnxpack", "push", "image.tar", f"{proxy.host}/stopped:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen) as process:
            while not proxy.count(of):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.endswith(b"interrupted\n")
    assert list((tmp_path / "store").rglob(".onnxpack-*")) == []
