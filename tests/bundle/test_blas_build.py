"""The libraries that stand in for OpenBLAS have the same bytes wherever they are built, and no build takes others."""

import hashlib
import importlib.util
import os
import shutil
import tomllib
from pathlib import Path

import pytest

from onnxpack.bundle.blas import build
from onnxpack.bundle.blas.build import (
    PLATFORMS,
    build_libraries,
    compile_library,
    find_stale,
    locate_library,
    read_digests,
)
from onnxpack.core.platforms import MACHINES

ROOT = Path(__file__).resolve().parents[2]
compiles = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources in a folder of its own, without libraries, as the one that is built in."""
    folder = tmp_path / "an other folder"
    shutil.copytree(build.FOLDER, folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    monkeypatch.setattr(build, "FOLDER", folder)
    monkeypatch.setattr(build, "DIGESTS", folder / "SHA256SUMS")
    return folder


def test_every_platform_of_images_has_a_library_with_the_digest_of_the_sources() -> None:
    assert PLATFORMS.keys() == MACHINES.keys()
    assert read_digests().keys() == {locate_library(platform).name for platform in PLATFORMS}
    assert find_stale() == []
    assert build_libraries() == []


@compiles
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_build_elsewhere_gives_the_same_bytes(
    apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    for name, value in {
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "tr_TR.UTF-8",
        "SOURCE_DATE_EPOCH": "1",
        "HOME": "/no",
    }.items():
        monkeypatch.setenv(name, value)
    for path in apart.iterdir():
        os.utime(path, (1, 1))
    before = os.umask(0o077)
    try:
        compile_library(platform, tmp_path / "made.so", apart)
    finally:
        os.umask(before)
    digest = hashlib.sha256((tmp_path / "made.so").read_bytes()).hexdigest()
    assert digest == read_digests()[locate_library(platform).name]


@compiles
def test_only_what_is_stale_is_built_and_nothing_is_left_beside(apart: Path) -> None:
    files = {path.name for path in apart.iterdir()}
    assert build_libraries() == list(PLATFORMS)
    made = {locate_library(platform): platform for platform in PLATFORMS}
    assert {path.name for path in apart.iterdir()} == files | {path.name for path in made}
    assert {path.stat().st_mode & 0o777 for path in made} == {0o644}
    next(iter(made)).write_bytes(b"damaged")
    assert build_libraries() == [next(iter(PLATFORMS))]
    assert build_libraries() == []


@compiles
def test_a_change_of_the_sources_needs_a_change_of_the_digests(apart: Path) -> None:
    source = apart / "refused.inc"
    source.write_text(source.read_text().replace("*info = 1;", "*info = 2;"))
    with pytest.raises(RuntimeError, match=r"linux-amd64\.so has the digest .* and SHA256SUMS says"):
        build_libraries()
    assert not list(apart.glob("*.so"))
    assert build_libraries(accept=True) == list(PLATFORMS)
    assert build_libraries() == []


@compiles
def test_a_source_that_does_not_compile_is_told(apart: Path) -> None:
    (apart / "blas.c").write_text("int broken(;\n")
    with pytest.raises(RuntimeError, match=r"(?s)linux/amd64 was not compiled.*blas\.c:1"):
        build_libraries()


def test_a_missing_compiler_is_told(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "executable", str(apart / "python"))
    (apart / "python").write_text("#!/bin/sh\necho 'No module named ziglang' >&2\nexit 1\n")
    (apart / "python").chmod(0o755)
    with pytest.raises(RuntimeError, match="No module named ziglang"):
        build_libraries()


def test_wheels_and_checkouts_are_built_by_one_version_of_the_compiler() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (ours,) = [line for line in project["build-system"]["requires"] if line.startswith("ziglang")]
    assert ours in project["project"]["optional-dependencies"]["dev"]
    assert f"\n{ours} " in (ROOT / "requirements.lock").read_text()
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["artifacts"] == ["onnxpack/bundle/blas/*.so"]
