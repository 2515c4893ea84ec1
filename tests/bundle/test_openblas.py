"""OpenBLAS goes where the small library has all that is called of it, as the files say, and stays elsewhere."""

import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from spared_numpy import copy_numpy, find_library, run_python, spared_numpy

from onnxpack.bundle import openblas
from onnxpack.bundle.blas import build
from onnxpack.bundle.layer import Needs
from onnxpack.bundle.lock import Package
from onnxpack.bundle.openblas import find_replacement, replace_openblas
from onnxpack.bundle.symbols import read_links, read_symbols
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import EngineError
from onnxpack.pipeline.runner import base_key
from onnxpack.tasks.packages import InstallPackages

__all__ = ["spared_numpy"]


@pytest.fixture
def numpy(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    return copy_numpy(tmp_path / "lib")


def list_libraries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("numpy.libs/*"))


def edit_library(folder: Path, old: bytes, new: bytes) -> Path:
    """Return a copy of the small library with other bytes in it."""
    data = find_library().read_bytes()
    assert data.count(old) == 1
    edited = folder / "edited.so"
    edited.write_bytes(data.replace(old, new))
    return edited


def test_the_fortran_libraries_go_with_openblas_and_its_name_stays(numpy: Path) -> None:
    before = list_libraries(numpy)
    assert any("gfortran" in name for name in before)
    assert replace_openblas(numpy, find_library()) == ""
    assert list_libraries(numpy) == [name for name in before if "openblas" in name]
    (library,) = numpy.glob("numpy.libs/*")
    assert library.read_bytes() == find_library().read_bytes()


def test_a_replaced_library_is_replaced_again(spared_numpy: Path) -> None:
    before = list_libraries(spared_numpy)
    assert replace_openblas(spared_numpy, find_library()) == ""
    assert list_libraries(spared_numpy) == before


def test_numpy_starts_with_the_library_and_maps_no_other(spared_numpy: Path) -> None:
    code = (
        "import numpy; print(numpy.__file__, (numpy.ones((2, 3)) @ numpy.ones(3)).tolist(), *open('/proc/self/maps'))"
    )
    done = run_python(spared_numpy, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{spared_numpy}/numpy/__init__.py [3.0, 3.0]")
    assert "libscipy_openblas64_" in done.stdout
    assert "gfortran" not in done.stdout
    assert done.stderr == ""


def test_openblas_stays_where_a_symbol_is_lacking(numpy: Path, tmp_path: Path) -> None:
    before = list_libraries(numpy)
    lacking = edit_library(tmp_path, b"\0scipy_cblas_sdot64_\0", b"\0scipy_cblas_sdox64_\0")
    reason = replace_openblas(numpy, lacking)
    assert "_multiarray_umath" in reason
    assert "needs scipy_cblas_sdot64_ of libscipy_openblas64_" in reason
    assert list_libraries(numpy) == before


def test_openblas_stays_for_another_machine(numpy: Path) -> None:
    before = list_libraries(numpy)
    (other,) = [path for name in build.PLATFORMS if (path := build.locate_library(name)) != find_library()]
    assert "EM_" in replace_openblas(numpy, other)
    assert list_libraries(numpy) == before


def test_openblas_stays_where_versions_of_its_symbols_are_asked_for(
    numpy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = [name for name in list_libraries(numpy) if "openblas" in name]
    monkeypatch.setattr(
        openblas, "read_symbols", lambda path: replace(read_symbols(path), versions=(("a", name, "V"),))
    )
    assert "needs certain versions" in replace_openblas(numpy, find_library())
    assert len(list_libraries(numpy)) > 1


def test_a_fortran_library_that_something_else_links_stays(numpy: Path) -> None:
    (fortran,) = numpy.glob("numpy.libs/libgfortran*")
    linked = sorted(path.name for path in numpy.glob("numpy.libs/*") if path.name in read_links(fortran))
    shutil.copy(fortran, numpy / "other.so")  # links what libgfortran links
    replace_openblas(numpy, find_library())
    assert [name for name in list_libraries(numpy) if "openblas" not in name] == linked


def test_a_folder_without_openblas_is_left_alone(tmp_path: Path) -> None:
    shutil.copy(find_library(), tmp_path / "nobody_links_this.so")
    (tmp_path / "text.so").write_text("INPUT(libc.so)")
    assert replace_openblas(tmp_path, find_library()) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nobody_links_this.so", "text.so"]


def test_numpy_needs_exactly_the_symbols_that_are_there(numpy: Path) -> None:
    (theirs,) = [read_symbols(path) for path in numpy.glob("numpy.libs/libscipy_openblas64_*")]
    users = [path for path in numpy.rglob("*.so*") if any("openblas" in name for name in read_links(path))]
    needed = frozenset[str]().union(*(read_symbols(path).undefined for path in users)) & theirs.defined
    assert len(users) == 3
    assert read_symbols(find_library()).defined == needed


def test_symbols_and_links_are_read_without_a_table_of_sections(tmp_path: Path, numpy: Path) -> None:
    (module,) = numpy.glob("numpy/_core/_multiarray_umath*.so")
    cut = tmp_path / module.name
    data = bytearray(module.read_bytes())
    data[0x28:0x30], data[0x3A:0x40] = bytes(8), bytes(6)  # e_shoff; e_shentsize, e_shnum and e_shstrndx
    cut.write_bytes(data)
    assert read_symbols(cut) == read_symbols(module)
    assert read_links(cut) == read_links(module)
    assert "libm.so.6" in read_symbols(module).versioned


@pytest.mark.parametrize("size", [0, 3, 40, 200, 1000, 20000])
def test_a_cut_library_is_told(tmp_path: Path, size: int) -> None:
    (tmp_path / "cut.so").write_bytes(find_library().read_bytes()[:size])
    with pytest.raises(EngineError, match=r"cut\.so is no shared library"):
        read_symbols(tmp_path / "cut.so")


def test_a_damaged_library_is_read_or_told(tmp_path: Path) -> None:
    data, random, told = find_library().read_bytes(), Random(1), 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.choice((1, 3, 20))):
            place = random.choice(
                (random.randrange(64), random.randrange(0x400), len(data) - random.randrange(1, 2000))
            )
            damaged[place] = random.choice((0, 255, random.randrange(256)))
        (tmp_path / "damaged.so").write_bytes(damaged)
        read_links(tmp_path / "damaged.so")
        try:
            read_symbols(tmp_path / "damaged.so")
        except EngineError:
            told += 1
    assert 0 < told < 300


@pytest.mark.parametrize("platform", build.PLATFORMS)
def test_each_platform_has_its_library_which_needs_no_other(platform: str) -> None:
    found = find_replacement(platform)
    symbols = read_symbols(found.path)
    assert symbols.machine == {"linux/amd64": "EM_X86_64", "linux/arm64": "EM_AARCH64"}[platform]
    assert read_links(found.path) == frozenset()
    assert symbols.undefined == {""}
    assert len(symbols.defined) == 57


@pytest.mark.parametrize(("data", "message"), [(None, "lacks the file"), (b"\x7fELF", "damaged, or older")])
def test_an_installation_without_the_right_library_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes | None, message: str
) -> None:
    path = tmp_path / "linux-amd64.so"
    if data:
        path.write_bytes(data)
    monkeypatch.setattr(openblas, "locate_library", lambda platform: path)
    with pytest.raises(EngineError, match=message):
        find_replacement("linux/amd64")


def test_another_library_is_another_request(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"a")
    (tmp_path / "b.so").write_bytes(b"b")
    packages = (Package("numpy", "2.4.6", ("0" * 64,)),)
    blas = (None, Artifact.of(tmp_path / "a.so"), Artifact.of(tmp_path / "b.so"))
    assert len({base_key(InstallPackages("3.11", "linux/amd64", packages, Needs(()), one), "") for one in blas}) == 3
