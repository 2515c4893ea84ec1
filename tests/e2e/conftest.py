"""End to end: the real command line in processes of its own, a real engine, real containers, real HTTP."""

import contextlib
import gc
import secrets
import subprocess
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import DockerException
from e2e_images import list_arguments, save
from e2e_scene import Scene, make_scene
from e2e_tools import Box, Built, Workshop, box, remove_all, without_leftovers

HERE = Path(__file__).parent
BASE = "gcr.io/distroless/python3-debian12"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for the session, so that every example is built once."""
    token = f"t{secrets.token_hex(4)}"
    return Workshop(tmp_path_factory.mktemp(f"workshop-{token}"), token, f"hunter2-{secrets.token_hex(16)}")


@pytest.fixture(scope="session")
def engine(workshop: Workshop) -> Iterator[Any]:
    """The engine that the command line finds too: what DOCKER_HOST or the current Docker context names.

    At the end the workshop's images go, and nothing else may be left of it.
    """
    client = _connected()
    if client is None:
        pytest.fail("No container engine answers: start one, or use `make test`, which brings one.", pytrace=False)
    yield client
    try:
        without_leftovers(client, workshop.token)
    finally:
        remove_all(client, workshop.token)
        client.close()


def _connected() -> Any:
    try:
        client = docker.from_env(timeout=300).api
        client.ping()
    except (DockerException, requests.RequestException, OSError):
        client = None
    with warnings.catch_warnings():
        # The SDK leaves open what it could not connect.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return client


def _built(workshop: Workshop, example: str) -> Built:
    return workshop.build(workshop.copy(example), workshop.root / "dist")


@pytest.fixture(scope="session")
def iris(workshop: Workshop, engine: Any) -> Built:
    return _built(workshop, "iris")


@pytest.fixture(scope="session")
def digits(workshop: Workshop, engine: Any) -> Built:
    return _built(workshop, "digits")


@pytest.fixture(scope="session")
def transactions(workshop: Workshop, engine: Any) -> Built:
    return _built(workshop, "transactions")


@pytest.fixture(scope="session")
def base_archive(workshop: Workshop) -> Path:
    """The base of the examples as a file: the engine's own where one answers, so that all build on the same."""
    client = _connected()
    if client is not None:
        with contextlib.closing(client):
            return save(client, BASE, workshop)
    path = workshop.root / "base.tar"
    subprocess.run([HERE.parents[1] / "scripts/base", BASE, "--archive", path], check=True)
    return path


@pytest.fixture(scope="session")
def daemonless(workshop: Workshop, base_archive: Path) -> Built:
    """The iris server, by the engine that needs no daemon."""
    return workshop.build(
        workshop.copy("iris", "daemonless"), workshop.root / "dist-oci", *list_arguments(base_archive)
    )


@pytest.fixture
def scene_of(workshop: Workshop, base_archive: Path, daemonless: Built, tmp_path: Path) -> Callable[..., Scene]:
    """A function that makes the scene of builds without a daemon; a label that it is given makes another image."""
    return partial(make_scene, workshop, base_archive, daemonless, tmp_path)


@pytest.fixture(params=["iris", "digits", "transactions"])
def example(request: pytest.FixtureRequest) -> Built:
    """Each of the examples, built."""
    built: Built = request.getfixturevalue(request.param)
    return built


@pytest.fixture(scope="module")
def published(iris: Built, engine: Any) -> Iterator[Box]:
    """The iris server as a user runs it, its port published on this machine's loopback."""
    host = {"port_bindings": {8080: ("127.0.0.1",)}}
    # Docker's own interval is the image's; a shorter one asks the same question sooner.
    check = {"interval": 1_000_000_000}
    with box(engine, iris.reference, host=host, ports=[8080], healthcheck=check) as server:
        yield server.ready()
