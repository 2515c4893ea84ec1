"""What a lock names is what was asked for, and what goes into an image is what the lock's hashes are of."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from wheels import make_wheel

from onnxpack.bundle.closure import iterate_package_differences
from onnxpack.bundle.layer import Needs, Root
from onnxpack.bundle.lock import Package
from onnxpack.bundle.packages import install
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.worker.uv import run_uv, write_requirements

NEEDS = Needs((Root("parser", "app/a.py"),))
ASKED = ("server[fast]>=1", "numbers>=2")
LOCKED = (
    Package("numbers", "2.1", ("0" * 64,)),
    Package("parser", "1.0", ("0" * 64,)),
    Package("server", "1.0", ("0" * 64,), ("parser", "toolbox")),
)


def explain(packages: tuple[Package, ...]) -> str:
    found = iterate_package_differences(ASKED, packages, frozenset({"toolbox"}))
    return "; ".join(one.words for one in found)


def test_package_differences_of_the_closure_finds_none() -> None:
    assert explain(LOCKED) == ""
    assert explain(LOCKED[::-1]) == ""


def test_package_differences_with_an_added_package_names_it() -> None:
    assert explain((*LOCKED, Package("evil", "1.0", ("0" * 64,)))) == "it holds 'evil', which nothing requires"
    # The unused one is not asked for either, since nothing that is installed imports it.
    assert explain((*LOCKED, Package("toolbox", "1.0", ("0" * 64,)))) == "it holds 'toolbox', which nothing requires"


def test_package_differences_without_a_package_names_what_needs_it() -> None:
    assert explain(LOCKED[:2]) == "'server' is missing, which the spec needs"
    assert explain((LOCKED[0], LOCKED[2])) == "'parser' is missing, which server needs"


def test_package_differences_in_another_version_says_what_is_asked() -> None:
    old = Package("numbers", "1.9", ("0" * 64,))
    assert explain((old, *LOCKED[1:])) == "it holds numbers 1.9, and the spec asks for numbers>=2"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as the only index, and a cache of uv's own."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "server", requires=("parser>=1", "toolbox; extra == 'all'", "tomli; python_version < '3.11'"))
    make_wheel(folder, "parser", code="VALUE = 1\n")
    make_wheel(folder, "evil")
    (tmp_path / "uv.toml").write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    yield folder
    shutil.rmtree(tmp_path / "uv", ignore_errors=True)


def package(index: Path, name: str, *requires: str, version: str = "1.0") -> Package:
    wheel = index / f"{name}-{version}-py3-none-any.whl"
    return Package(name, version, (hashlib.sha256(wheel.read_bytes()).hexdigest(),), requires)


def put(index: Path, *packages: Package) -> Path:
    folder = index.parent / "installed"
    folder.mkdir()
    install("3.11", "linux/amd64", packages, NEEDS, folder)
    return folder


def test_install_fills_the_folder_with_the_locked_wheels(index: Path) -> None:
    folder = put(index, package(index, "server", "parser"), package(index, "parser"))
    assert (folder / "parser.py").read_text() == "VALUE = 1\n"


def test_install_after_a_change_in_uvs_cache_takes_the_archive(index: Path, tmp_path: Path) -> None:
    # As an earlier installation of the same locked wheel leaves it there.
    lines = write_requirements([package(index, "parser").requirement()], tmp_path)
    run_uv("pip", "install", "--target", str(tmp_path / "other"), "--require-hashes", "--no-deps", "--requirement",
       str(lines), what="fill the cache")  # fmt: skip
    cached = list((tmp_path / "uv").rglob("parser.py"))
    assert cached
    for path in cached:
        path.write_text("VALUE = 666\n")
    folder = put(index, package(index, "parser"))
    assert (folder / "parser.py").read_text() == "VALUE = 1\n"


@pytest.mark.case("B12")
def test_install_of_another_archive_than_the_locked_one_is_refused(index: Path) -> None:
    locked = package(index, "parser")
    make_wheel(index, "parser", code="VALUE = 666\n")
    with pytest.raises(EngineError, match="cannot install"):
        put(index, locked)


@pytest.mark.parametrize("requires", [("parser", "evil"), ()])
def test_install_where_the_lock_misstates_what_a_wheel_requires_is_refused(
    index: Path, requires: tuple[str, ...]
) -> None:
    named = package(index, "evil") if requires else package(index, "parser")
    with pytest.raises(SpecError, match=r"the lock says that server (requires 'evil'|does not require 'parser')"):
        put(index, package(index, "server", *requires), package(index, "parser"), *([named] if requires else []))


def test_install_of_a_version_that_a_wheel_excludes_is_refused(index: Path) -> None:
    make_wheel(index, "parser", version="0.9")
    with pytest.raises(SpecError, match=r"the lock holds parser 0\.9, and server requires parser>=1"):
        put(index, package(index, "server", "parser"), package(index, "parser", version="0.9"))


def test_install_that_leaves_a_distribution_out_is_refused(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.bundle.packages.run_uv", lambda *words, what: "")
    with pytest.raises(EngineError, match=r"this differs: parser$|this differs: parser "):
        put(index, package(index, "parser"))
