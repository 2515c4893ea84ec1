"""Specs with locks of tiny wheels, whose builds need everything from outside that there is: for tests of bundles."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_examples import RELU, make_model
from web import Web
from wheels import make_wheel

from onnxpack.bundle.lock import LockedBase, Package, TargetLock, lock_path, make_unresolved_lock, write
from onnxpack.spec.load import SpecFile, load

PACKAGES = {"httptools": "0.9", "numpy": "2.4", "onnxruntime": "1.32", "orjson": "3.13"}
"""What an image's lock pins, by name."""
MODEL = make_model(RELU).SerializeToString()
UNREAD = b"nothing loads it"
PINS = ("scikit-learn==1.0",)


@dataclass(frozen=True)
class Outside:
    """Where all comes from: a folder of wheels, a base image, and the server of a model."""

    wheels: Path
    base: LockedBase
    web: Web

    @property
    def model(self) -> str:
        return self.web.url


def make_packages(wheels: Path) -> tuple[Package, ...]:
    """Make the wheels of an image's packages, and return how a lock pins them."""
    found = []
    for name, version in PACKAGES.items():
        if not list(wheels.glob(f"{name}-{version}-*.whl")):
            make_wheel(wheels, name, version)
        (wheel,) = wheels.glob(f"{name}-{version}-*.whl")
        found.append(Package(name, version, (hashlib.sha256(wheel.read_bytes()).hexdigest(),)))
    return tuple(found)


def write_project(folder: Path, name: str, outside: Outside, *, isolated: bool = False) -> SpecFile:
    """Write a spec with its lock: of a model by URL, or of one with an isolated environment."""
    folder.mkdir(parents=True)
    remote = {"framework": "onnx", "path": outside.model, "sha256": hashlib.sha256(MODEL).hexdigest()}
    (folder / "m.joblib").write_bytes(UNREAD)
    digest = hashlib.sha256(UNREAD).hexdigest()
    local = {"framework": "sklearn", "path": "m.joblib", "sha256": digest, "requirements": list(PINS)}
    spec = {
        "onnxpack": 1,
        "name": name,
        "model": local if isolated else remote,
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}},
        "dynamic_axes": {"n": {"min": 1, "max": 16}},
        "image": {"base": outside.base.reference},
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))
    file = load(path)
    asked = make_unresolved_lock(file.spec, "cpu")
    write(lock_path(path), {"cpu": replace(asked, packages=make_packages(outside.wheels), base=outside.base)})
    return file


def read_lock(file: SpecFile) -> TargetLock:
    """Return the lock of a project's only target."""
    from onnxpack.bundle.lock import read

    return read(lock_path(file.path))["cpu"]


def change_member(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of a member of a tar, and leave the others as they are."""
    with tarfile.open(path) as archive:
        members = [(one, archive.extractfile(one)) for one in archive]
        files = {one.name: stream.read() if stream else b"" for one, stream in members}
    files[name] = change(files[name])
    write_members(path, files)


def write_members(path: Path, files: dict[str, bytes]) -> None:
    """Write a tar of regular files."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def flip(data: bytes) -> bytes:
    """Return data with one bit changed in its middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
