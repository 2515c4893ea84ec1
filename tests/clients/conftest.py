"""Other projects' clients, in an environment of their own, and a server of a model with inputs of many kinds."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_examples import IRIS, save_model, write_modules
from environments import make_environment
from onnx import helper
from serving import serving

from onnxpack.bundle.render import ModuleView
from onnxpack.core.values import Axis, TensorInfo

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
SECONDS = 120  # of one client's script: importing kserve takes some on a busy machine

KINDS = ("float32", "float16", "int64", "int8", "bool", "string")
INPUTS = tuple(TensorInfo(f"in_{kind}", kind, ("rows", 2)) for kind in KINDS)
COLUMNS = tuple(TensorInfo(name, kind, ("rows", 1)) for name, kind in (("size", "float32"), ("kind", "string")))
PASSING = replace(
    IRIS,
    name="passing",
    description="Passes all inputs through.",
    inputs=(*INPUTS, *COLUMNS),
    outputs=tuple(replace(info, name=f"out_{info.name}") for info in (*INPUTS, *COLUMNS)),
    axes=(Axis("rows", 1, 8, 5000),),
    max_body=None,
)
"""A model with an input and an output of each kind, and two that are a table's columns."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)  # the clients come over the network


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment with exactly the locked clients, which is kept from session to session."""
    return make_environment(LOCK) / "python"


@pytest.fixture
def run(python: Path) -> Callable[..., str]:
    """Run one client's script in the clients' environment; give what it prints, which is what it found right."""

    def run(script: str, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        ended = subprocess.run(
            [str(python), "-I", str(HERE / script), *arguments],
            env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-4000:]
        return ended.stdout

    return run


def write_passing(folder: Path, view: ModuleView) -> None:
    """Write the model that passes all through, and its server."""
    nodes = [helper.make_node("Identity", [info.name], [f"out_{info.name}"]) for info in view.inputs]
    save_model(folder / "model.onnx", nodes, view, [])
    write_modules(folder, view)


@pytest.fixture(scope="session")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The place of the model's server over HTTP."""
    folder = tmp_path_factory.mktemp("passing")
    write_passing(folder, PASSING)
    with serving(folder) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="session")
def passing_grpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The place of the model's server over gRPC."""
    folder = tmp_path_factory.mktemp("passing_grpc")
    write_passing(folder, replace(PASSING, server="http+grpc"))
    with serving(folder) as server:
        yield f"127.0.0.1:{server.grpc_port}"
