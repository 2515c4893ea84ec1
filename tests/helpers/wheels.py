"""Tiny wheels made on the spot, and a folder of them as the only package index."""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = (), code: str = "") -> None:
    """Make a wheel of one module, of the distribution's own name."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    recorded = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{recorded}{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def pack_installed(folder: Path, name: str) -> None:
    """Make a wheel of a distribution that is installed here, for what a child cannot do without."""
    found = distribution(name)
    files = [path for path in found.files or () if ".." not in path.parts and "__pycache__" not in path.parts]
    # Its own tag would do too; one that fits everywhere keeps the name simple.
    with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as archive:
        for path in files:
            archive.write(found.locate_file(path), path.as_posix())


def make_wheels(parent: Path) -> Path:
    """Make the folder ``wheels`` with all that an export needs, most of it stand-ins, and uv's configuration for it."""
    folder = parent / "wheels"
    folder.mkdir()
    for name in ("onnx", "onnxruntime", "numpy", "joblib", "scikit-learn", "skl2onnx", "skops"):
        make_wheel(folder, name)
    for name in ("msgspec", "PyYAML"):  # with which a child reads its request
        pack_installed(folder, name)
    (parent / "uv.toml").write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that an export needs, most of it stand-ins; uv sees nothing else, and keeps nothing."""
    folder = make_wheels(tmp_path)
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder
