"""Builds take the library that stands in for OpenBLAS, and say why where they cannot."""

import hashlib
import platform
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import RELU, make_model
from spared_numpy import copy_numpy, find_library
from wheels import make_wheel, pack_installed

from onnxpack.bundle.layer import Needs, Root
from onnxpack.bundle.lock import Package
from onnxpack.core.artifacts import Artifact
from onnxpack.tasks.packages import InstallPackages

SPEC = """\
onnxpack: 1
name: spared
model: {framework: onnx, path: model.onnx}
inputs:
  x: {dtype: float32, shape: [n, 4]}
dynamic_axes: {n: [1, 8]}
"""


@pytest.fixture
def real_numpy(tmp_path: Path, wheels: Path) -> Package:
    """The numpy that is installed here, packed for the package index of the test."""
    copy_numpy(tmp_path / "looked at")  # skips where it has no OpenBLAS
    if platform.machine() != "x86_64":
        pytest.skip("the specs of this module are for linux/amd64")
    pack_installed(wheels, "numpy")
    (wheel,) = wheels.glob("numpy-2*.whl")
    return Package("numpy", wheel.name.split("-")[1], (hashlib.sha256(wheel.read_bytes()).hexdigest(),))


def test_a_build_puts_the_library_of_its_platform_into_the_bundle(
    tmp_path: Path, wheels: Path, real_numpy: Package, onnxpack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("onnxruntime", "1.30"), ("httptools", "0.9"), ("orjson", "3.12")):
        make_wheel(wheels, name, version)
    project = tmp_path / "project"
    project.mkdir()
    (project / "spec.yaml").write_text(SPEC)
    onnx.save(make_model(RELU), project / "model.onnx")
    monkeypatch.chdir(project)
    ended = onnxpack("build", "spec.yaml", "--engine", "none")
    assert ended.code == 0, ended.err
    assert "OpenBLAS" not in ended.err
    (library,) = project.glob("dist/spared/cpu/context/rootfs/runtime/opt/onnxpack/lib/numpy.libs/*")
    assert library.name.startswith("libscipy_openblas64_")
    assert library.read_bytes() == find_library().read_bytes()


@pytest.mark.parametrize("kind", ["none", "lacking"])
def test_openblas_stays_without_a_library_that_has_all_symbols(tmp_path: Path, real_numpy: Package, kind: str) -> None:
    lacking = tmp_path / "lacking.so"
    lacking.write_bytes(find_library().read_bytes().replace(b"scipy_dgesdd_64_", b"scipy_xgesdd_64_"))
    blas = Artifact.of(lacking) if kind == "lacking" else None
    (tmp_path / "lib").mkdir()
    said: list[str] = []
    InstallPackages("3.11", "linux/amd64", (real_numpy,), Needs((Root("numpy", "inference.py"),)), blas).run(
        tmp_path / "lib", said.append
    )
    assert len(list(tmp_path.glob("lib/numpy.libs/*"))) > 1
    if kind == "none":
        assert said == []
    else:
        (words,) = said
        assert words.startswith("OpenBLAS stays in the image: _umath_linalg")
        assert "scipy_dgesdd_64_" in words
