"""Images stand on bases with any Python that has packages; a base that will not do is told before anything is built."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_tools import Workshop, failed_stages, fails

from onnxpack.bundle.lock import read

_SCRIPT = Path(__file__).parents[2] / "scripts/base"
_NOWHERE = "127.0.0.1:9"
"""A registry that answers no pull, so that a stand-in is made."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with Python 3.13, as a file."""
    path = tmp_path_factory.mktemp("bases") / "python3.13.tar"
    command = [sys.executable, _SCRIPT, f"{_NOWHERE}/python:3.13", "--python", "3.13", "--archive", path]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"Debian's packages of Python 3.13 cannot be had: {made.stderr}")
    return path


@pytest.fixture
def empty(engine: Any) -> Iterator[str]:
    """A base without anything in it."""
    name, stream = f"{_NOWHERE}/nothing:here", io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("nothing"))
    repository, tag = name.rsplit(":", 1)
    engine.import_image_from_data(stream.getvalue(), repository=repository, tag=tag)
    yield name
    engine.remove_image(name)


def test_a_base_with_another_python_is_refused_before_anything_is_built(
    workshop: Workshop, newer: Path, tmp_path: Path
) -> None:
    spec = workshop.copy("iris", "newer-base")
    result = workshop.run("build", spec, "--output", tmp_path / "dist", "--engine", "oci", "--base", newer)
    fails(result, 2, "has Python 3.13", "image.python says 3.11", 'set `image.python: "3.13"`')
    assert failed_stages(tmp_path) == ["base"]


def test_a_base_without_python_is_refused(workshop: Workshop, empty: str, tmp_path: Path) -> None:
    spec = workshop.copy("iris", "no-python", image={"base": empty})
    result = workshop.run("build", spec, "--output", tmp_path / "dist")
    fails(result, 2, "the base image has no python3 that can be run")
    assert failed_stages(tmp_path) == ["base"]


def test_an_image_of_a_newer_python_is_built_and_tested(workshop: Workshop, newer: Path, tmp_path: Path) -> None:
    spec = workshop.copy("iris", "newer-python", image={"python": "3.13"})
    spec.with_suffix(".lock").unlink()  # it is of the Python that the spec had
    built = workshop.build(spec, tmp_path / "dist", "--engine", "oci", "--base", newer)
    base = built.report["image"]["base"]
    assert base["python"].startswith("3.13.")
    assert base["libc"].startswith("glibc 2.")
    assert built.report["smoke"]["comparisons"] > 0
    assert read(spec.with_suffix(".lock"))["cpu"].python == "3.13"
    libraries = {path.name.split(".")[1] for path in built.context.rglob("_multiarray_umath*.so")}
    assert libraries == {"cpython-313-x86_64-linux-gnu"}
