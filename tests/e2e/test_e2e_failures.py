"""What the machine does to a build: no engine, an engine that dies, no base image, no room."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from e2e_disks import enlarge, small_disk
from e2e_proxy import proxy
from e2e_tools import Built, Workshop, contents, eventually, failed_stages, fails, traces, without_leftovers


@pytest.fixture(scope="session")
def unbuilt(workshop: Workshop) -> Path:
    """A spec for builds that never come to an image."""
    return workshop.copy("iris", "unbuilt")


@pytest.mark.case("B3")
def test_no_engine(workshop: Workshop, unbuilt: Path, tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/dead.sock"
    result = workshop.run("build", unbuilt, "--output", tmp_path / "dist", DOCKER_HOST=dead)
    fails(result, 5, f"no Docker engine answers at {dead}")
    assert failed_stages(tmp_path) == ["base"]


@pytest.mark.case("B3")
def test_no_engine_at_the_current_docker_context(workshop: Workshop, unbuilt: Path, tmp_path: Path) -> None:
    """As a user's configuration names it, where DOCKER_HOST does not."""
    dead = f"unix://{tmp_path}/dead.sock"
    _write_context(tmp_path / "docker", "elsewhere", dead)
    settings = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "elsewhere", "DOCKER_CONFIG": str(tmp_path / "docker")}
    result = workshop.run("build", unbuilt, "--output", tmp_path / "dist", **settings)
    fails(result, 5, f"no Docker engine answers at {dead}")
    assert failed_stages(tmp_path / "dist") == ["base"]


def _write_context(folder: Path, name: str, host: str) -> None:
    """A context as `docker context create` leaves it."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))
    (folder / "config.json").write_text("{}")


def test_no_engine_is_needed_to_stop_before_the_image(workshop: Workshop, unbuilt: Path, tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/dead.sock"
    result = workshop.run("build", unbuilt, "--output", tmp_path / "dist", "--engine", "none", DOCKER_HOST=dead)
    assert result.code == 0, result.err
    assert result.out == f"{tmp_path}/dist/iris/cpu/context\n"
    made = contents(tmp_path / "dist/iris/cpu")
    assert {"report.json", "model.onnx", "context/Dockerfile"} <= set(made)
    assert made["model.onnx"] == made["context/rootfs/model/opt/onnxpack/app/model.onnx"]


def test_an_unknown_base_image(workshop: Workshop, engine: Any, iris: Built, tmp_path: Path) -> None:
    base = "127.0.0.1:9/no/such/image:here"
    spec = workshop.copy("iris", "unknown-base", image={"base": base})
    before = traces(engine, workshop.token)
    result = workshop.run("build", spec, "--output", tmp_path / "dist")
    fails(result, 5, f"the base image {base} cannot be pulled")
    assert failed_stages(tmp_path) == ["base"]
    assert traces(engine, workshop.token) == before


# ----------------------------------------------------------------------------------------------- an engine that dies


def _fresh(workshop: Workshop, iris: Built, name: str) -> Path:
    """An iris whose image is not there yet, though all before it is."""
    return workshop.copy("iris", name, version=f"1.0.0-{name}", description=f"to see what becomes of {name}")


@pytest.mark.case("B3")
@pytest.mark.case("B9")
@pytest.mark.parametrize(
    ("request_path", "doing"),
    [("/build?", "build the image"), ("/start", "start the container")],
    ids=["build", "smoke"],
)
def test_an_engine_that_dies_in_the_middle(
    workshop: Workshop, engine: Any, iris: Built, tmp_path: Path, request_path: str, doing: str
) -> None:
    spec = _fresh(workshop, iris, f"dying-{request_path.strip('/?')}")
    _, before = traces(engine, workshop.token)
    with proxy(request_path, cut=True) as between:
        result = workshop.run("build", spec, "--output", tmp_path / "dist", DOCKER_HOST=between.host)
        assert between.reached.is_set()
    fails(result, 5, f"the engine at {between.host} stopped answering: it could not {doing}")
    assert failed_stages(tmp_path) == ["image/smoke"]

    # What it had begun nobody could take back; without it the next build is whole.
    eventually(lambda: _swept(engine, workshop, before), "the engine was at rest")
    workshop.build(spec, tmp_path / "dist")
    without_leftovers(engine, workshop.token)


def _swept(engine: Any, workshop: Workshop, names: set[str]) -> bool:
    containers, tags = traces(engine, workshop.token)
    for found in containers:
        engine.remove_container(found, force=True, v=True)
    for name in tags - names:
        engine.remove_image(name, force=True)
    return not containers


# --------------------------------------------------------------------------------------------------------- no room


def test_no_room_in_the_output(workshop: Workshop, engine: Any, iris: Built, tmp_path: Path) -> None:
    before = traces(engine, workshop.token)
    with small_disk(tmp_path / "small", "20m") as small:
        result = workshop.run("build", iris.spec, "--output", small / "dist")
        assert len(failed_stages(small)) <= 1  # there may be no room for a report either
    fails(result, 5, "No space left on device", "free disk space, or choose another --output")
    assert traces(engine, workshop.token) == before


def test_no_room_in_the_output_is_told_in_a_few_words(workshop: Workshop, iris: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "20m") as small:
        result = workshop.run("build", iris.spec, "--output", small / "dist")
    assert len(result.err) < 2000


def test_no_room_in_the_cache(workshop: Workshop, iris: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "30m") as small:
        cache = {"ONNXPACK_CACHE": str(small)}
        result = workshop.run("build", iris.spec, "--output", tmp_path / "dist", **cache)
        fails(result, 5, "No space left on device")
        assert failed_stages(tmp_path / "dist") == ["bundle"]
        assert not [name for name in contents(small) if "/." in name or name.startswith(".")]

        enlarge(small, "500m")
        built = workshop.build(iris.spec, tmp_path / "dist", **cache)
    cached = {stage["name"]: stage["cached"] for stage in built.report["stages"]}
    assert (cached["export"], cached["verify"], cached["bundle"]) == (True, True, False)
    assert built.layers == iris.layers


def test_no_room_in_the_cache_at_all(workshop: Workshop, iris: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "100k") as small:
        result = workshop.run("build", iris.spec, "--output", tmp_path / "dist", ONNXPACK_CACHE=str(small))
    assert failed_stages(tmp_path / "dist") == ["export"]
    fails(result, 5, "No space left on device")
