"""Makes a copy of the numpy installed here whose OpenBLAS is replaced as in an image, and runs Python with it."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from onnxpack.bundle.openblas import find_replacement, replace_openblas

_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


def copy_numpy(folder: Path) -> Path:
    """Copy the installed numpy into an empty folder, and return that; skip the test if no wheel brought OpenBLAS."""
    site = Path(str(distribution("numpy").locate_file("")))
    if platform.system() != "Linux" or not list(site.glob("numpy.libs/libscipy_openblas64_*")):
        pytest.skip("numpy here has no OpenBLAS of a wheel for Linux")
    for path in site.glob("numpy*"):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def find_library() -> Path:
    """Return the library that stands in for OpenBLAS on this machine."""
    return find_replacement(_MACHINES[platform.machine()]).path


@pytest.fixture(scope="session")
def spared_numpy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on the path, with numpy in it and no OpenBLAS."""
    folder = copy_numpy(tmp_path_factory.mktemp("numpy"))
    assert replace_openblas(folder, find_library()) == ""
    return folder


def run_python(folder: Path, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run Python with the numpy of a folder, outside this project."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
