"""What uv unpacks is looked at before it counts: an image without its packages was a success once."""

import hashlib
from pathlib import Path

import pytest
from wheels import make_wheel

from onnxpack.bundle import packages
from onnxpack.bundle.layer import LayerFile, Needs, Root, Why
from onnxpack.bundle.lock import Package
from onnxpack.bundle.packages import install
from onnxpack.core.errors import EngineError


def locked(folder: Path, name: str, version: str) -> Package:
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    return Package(name, version, (hashlib.sha256(wheel.read_bytes()).hexdigest(),))


def test_install_into_a_relative_folder_fills_it(
    tmp_path: Path,
    wheels: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_wheel(wheels, "small-package", "2026.1")
    (tmp_path / "lib").mkdir()
    monkeypatch.chdir(tmp_path)
    needs = Needs((Root("small_package", "app/a.py"),))
    files = install("3.11", "linux/amd64", [locked(wheels, "small-package", "2026.1")], needs, Path("lib"))
    assert (tmp_path / "lib/small_package.py").exists()
    assert LayerFile("small_package.py", "small-package", 0, True, Why("imported by", "app/a.py")) in files


def test_a_lock_without_packages_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "run_uv", lambda *arguments, what: pytest.fail("it ran"))
    with pytest.raises(EngineError, match="the lock holds no packages"):
        install("3.11", "linux/amd64", (), Needs(()), tmp_path)


@pytest.mark.parametrize("there", ["", "h11-0.15.dist-info", "h110-0.16.dist-info"])
def test_install_that_leaves_a_package_out_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    if there:
        name, _, version = there.removesuffix(".dist-info").partition("-")
        (tmp_path / there).mkdir()
        (tmp_path / there / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(packages, "run_uv", lambda *arguments, what: "")
    with pytest.raises(EngineError, match=r"uv did not install .*h11"):
        install("3.11", "linux/amd64", [Package("h11", "0.16", ("0" * 64,))], Needs(()), tmp_path)


def test_install_of_a_version_that_is_spelt_otherwise_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "Some_Package-2026.04.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some.Package\nVersion: 2026.04\n")
    monkeypatch.setattr(packages, "run_uv", lambda *arguments, what: "")
    install("3.11", "linux/amd64", [Package("some-package", "2026.4", ("0" * 64,))], Needs(()), tmp_path)
    assert (info / "METADATA").exists()
