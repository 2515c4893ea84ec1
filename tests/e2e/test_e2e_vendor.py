"""A build from a bundle, in a namespace without a network, gives the same image as one that asks the network."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_tools import ONNXPACK, Workshop, fails
from registries import running_registry
from told import Told
from vendoring import change_member, flip

from onnxpack.bundle.lock import read
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import Layout
from onnxpack.oci.push import push
from onnxpack.oci.reference import parse_reference

_ALONE = ("unshare", "--map-root-user", "--net")
"""The words before a command that give it a network without any device that is up, not even this machine's own."""


@pytest.fixture(scope="module")
def locked(workshop: Workshop, base_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The iris spec with a lock that pins its base, and with its wheels in a folder, which uv takes for the index."""
    if not shutil.which(_ALONE[0]) or subprocess.run([*_ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    root = tmp_path_factory.mktemp("vendor")
    with running_registry(root / "registry") as registry:
        name = f"{registry.host}/python:3.11"
        engine = OciEngine(Layout(root / "pushed"))
        layout, entry = engine.export(engine.add_base(base_archive, name, "linux/amd64").id, "")
        push(layout, entry, [parse_reference(name)], Told())
        spec = workshop.copy("iris", "vendor", image={"base": name})
        ended = workshop.run("lock", spec)
        assert ended.code == 0, ended.err
        packages = read(spec.with_suffix(".lock"))["cpu"].packages
        (root / "wanted.txt").write_text("\n".join(package.requirement() for package in packages))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "--dest", root / "wheels", "--requirement", root / "wanted.txt"], check=True)
        (workshop.root / "vendor.toml").write_text(f'no-index = true\nfind-links = ["{root / "wheels"}"]\n')
        yield spec


@pytest.fixture(scope="module")
def variables(locked: Path, workshop: Workshop) -> dict[str, str]:
    store = workshop.root / "vendor-store"
    return {"UV_CONFIG_FILE": str(workshop.root / "vendor.toml"), "ONNXPACK_CACHE": str(store)}


@pytest.fixture(scope="module")
def bundle(locked: Path, workshop: Workshop, variables: dict[str, str]) -> Path:
    path = workshop.root / "bundle.tar"
    ended = workshop.run("vendor", locked, "--output", path, **variables)
    assert (ended.code, ended.out) == (0, f"{path}\n"), ended.err
    return path


def test_without_a_network_the_image_is_the_same(
    locked: Path, workshop: Workshop, bundle: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    online = workshop.build(locked, tmp_path / "online", "--engine", "oci", **variables)
    command = [ONNXPACK, "build", locked, "--vendor", bundle, "--output", tmp_path / "offline"]
    own = {"ONNXPACK_CACHE": str(tmp_path / "store"), "UV_CACHE_DIR": str(tmp_path / "uv")}
    result = subprocess.run(
        [*_ALONE, *command], env=os.environ | own, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "offline/iris/cpu/report.json").read_text())
    assert report["image"]["digest"] == online.report["image"]["digest"]
    archives = [folder / "iris/cpu/image.tar" for folder in (tmp_path / "online", tmp_path / "offline")]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}) == 1


def test_a_poisoned_wheel_never_gets_into_an_image(
    locked: Path, workshop: Workshop, bundle: Path, tmp_path: Path
) -> None:
    poisoned = Path(shutil.copyfile(bundle, tmp_path / "bundle.tar"))
    packages = read(locked.with_suffix(".lock"))["cpu"].packages
    (numpy,) = (package for package in packages if package.name == "numpy")
    (wheel,) = (
        wheel for wheel in json.loads(_read_member(bundle, "vendor.json"))["wheels"] if wheel["sha256"] in numpy.hashes
    )
    change_member(poisoned, f"blobs/sha256/{wheel['sha256']}", flip)
    result = workshop.run(
        "build", locked, "--vendor", poisoned, "--engine", "none", "--output", tmp_path / "dist",
        ONNXPACK_CACHE=str(tmp_path / "store"),
    )  # fmt: skip
    fails(result, 5, f"the wheel {wheel['name']} is damaged")
    assert not (tmp_path / "dist/iris/cpu/context").exists()


def _read_member(path: Path, name: str) -> bytes:
    return subprocess.run(["tar", "-xOf", path, name], check=True, capture_output=True).stdout
