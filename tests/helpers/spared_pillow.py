"""Makes a copy of the Pillow installed here as an image has it, and runs Python with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from onnxpack.bundle.codecs import FOLDER, PACKAGE, replace_codecs
from onnxpack.bundle.layer import LayerFile, Needs, Root
from onnxpack.bundle.prune import prune

PLUGINS = ("BmpImagePlugin", "JpegImagePlugin", "PngImagePlugin", "WebPImagePlugin")
"""Pillow's modules for all formats that a spec can declare."""


def copy_pillow(folder: Path) -> Path:
    """Copy the installed Pillow into an empty folder, and return that; skip the test if no wheel brought libraries."""
    if not list(Path(str(distribution(PACKAGE).locate_file(FOLDER))).glob("libtiff-*")):
        pytest.skip("Pillow here has no libraries of a wheel for Linux")
    for file in distribution(PACKAGE).files or ():
        if "__pycache__" not in file.parts and ".." not in file.parts:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
    return folder


def spare_pillow(folder: Path, plugins: Iterable[str], whole: tuple[tuple[str, str], ...] = ()) -> list[LayerFile]:
    """Prune a copy of Pillow in a folder for an image whose module imports some of its plugins."""
    names = ("PIL.Image", "PIL.ImageOps", *(f"PIL.{plugin}" for plugin in plugins))
    needs = Needs(tuple(Root(name, "app/pictures.py") for name in names), whole)
    return list(replace_codecs(folder, prune(folder, needs), needs))


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of a folder, and no others."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
