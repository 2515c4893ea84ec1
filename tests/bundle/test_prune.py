"""The runtime layer keeps what a session loads, every licence, and what users add whole; each file has a reason."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from onnxpack.bundle.layer import LayerFile, Needs, Root, Why
from onnxpack.bundle.prune import explain_files, prune, refresh_files

NUMPY = {
    "numpy/__init__.py": "from . import core\nfrom ._pytesttester import run",
    "numpy/_pytesttester.py": "def run(): pass\nclass A:\n    def __call__(self):\n        import numpy.testing",
    "numpy/core.py": "",
    "numpy/LICENSE.txt": "a text of its own",
    "numpy-2.dist-info/METADATA": "Name: numpy",
    "numpy-2.dist-info/WHEEL": "",
    "numpy-2.dist-info/licenses/LICENSE.txt": "numpy's licence",
    "numpy-2.dist-info/licenses/numpy/core/tests/LICENSE": "another licence",
    "numpy-2.dist-info/licenses/some.h": "and one in a header",
}
NUMPY_GOES = {
    "bin/numpy-config": "a command: it names the Python of the machine that built",
    "numpy-2.dist-info/entry_points.txt": "names commands and plug-ins, which nothing of an image looks up",
    "numpy/__init__.pyi": "only compilers and type checkers read it",
    "numpy/py.typed": "only compilers and type checkers read it",
    "numpy/core/include/a.h": "only compilers and type checkers read it",
    "numpy/__pycache__/core.cpython-311.pyc": "compiled by another Python than the base's",
    "numpy/testing/__init__.py": "only numpy.test() imports it, which runs numpy's own tests",
    "numpy/random/__init__.py": "no module that an image loads imports it",
    "numpy/random/LICENSE.md": "a licence that is among its package's metadata too",
    "numpy/random/a.cpython-311-x86_64-linux-gnu.so": "no module that an image loads imports it",
    "numpy/random/data.csv": "no file of the layer names it",
    "numpy.libs/libother.so.1": "no library of the layer links or names it",
}
NOTES = (
    ".lock",
    *(f"numpy-2.dist-info/{name}" for name in ("RECORD", "INSTALLER", "direct_url.json", "uv_cache.json")),
)
CUDA = {
    "nvidia/cu13/lib/libcublas.so.13": "",
    "nvidia/cu13/License.txt": "",
    "nvidia_cublas-13.dist-info/METADATA": "Name: nvidia-cublas",
}
CUDA_GOES = ("nvidia/cu13/include/cublas.h", "nvidia/cu13/lib/pkgconfig/cublas.pc", "nvidia/cu13/nvvm/libdevice.bc")
ADDED = {
    "extra/__init__.py": "",
    "extra/tests/test_a.py": "",
    "extra/py.typed": "",
    "extra-1.dist-info/METADATA": "Name: extra",
    "extra-1.dist-info/entry_points.txt": "[plugins]",
}
ROOTS = (Root("numpy", "app/inference.py"),)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three distributions as an installer leaves them."""
    for files, gone, info in (
        (NUMPY, (*NUMPY_GOES, *NOTES), "numpy-2"),
        (CUDA, CUDA_GOES, "nvidia_cublas-13"),
        (ADDED, ("extra-1.dist-info/RECORD", "bin/extra"), "extra-1"),
    ):
        texts = {**dict.fromkeys(gone, ""), **files, "numpy/random/LICENSE.md": "numpy's licence"}
        for name in (*files, *gone):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(texts[name])
        (tmp_path / f"{info}.dist-info/RECORD").write_text("".join(f"{name},,\n" for name in (*files, *gone)))
    return tmp_path


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def list_kept(files: Iterable[LayerFile]) -> list[str]:
    return [file.path for file in files if file.kept]


def test_prune_keeps_what_is_loaded_and_every_licence(tree: Path) -> None:
    files = prune(tree, Needs(ROOTS, (("extra", "image.requirements"),)))
    assert list_files(tree) == list_kept(files) == sorted((*NUMPY, *CUDA, *ADDED))
    assert [path for path in tree.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_what_goes_says_why(tree: Path) -> None:
    found = {file.path: file for file in prune(tree, Needs(ROOTS))}
    assert {path: found[path].why.how for path in NUMPY_GOES} == NUMPY_GOES
    assert not any(found[path].kept for path in (*NUMPY_GOES, *CUDA_GOES))


def test_what_an_installer_notes_is_not_listed(tree: Path) -> None:
    before = explain_files(tree, Needs(ROOTS))
    for name in NOTES[1:]:
        with (tree / name).open("a") as stream:
            stream.write(",,\n")  # as a time or a path of another length makes it
    assert explain_files(tree, Needs(ROOTS)) == before == prune(tree, Needs(ROOTS))
    assert {file.path for file in before}.isdisjoint(NOTES)


def test_what_stays_says_why(tree: Path) -> None:
    found = {file.path: file.why for file in prune(tree, Needs(ROOTS, (("extra", "image.requirements"),)))}
    assert found["numpy/__init__.py"] == Why("imported by", "app/inference.py")
    assert found["numpy/core.py"] == Why("imported by", "numpy/__init__.py")
    assert found["numpy/LICENSE.txt"] == Why("a licence")
    assert found["numpy-2.dist-info/licenses/some.h"] == Why("a package's metadata and licences")
    assert found["extra/tests/test_a.py"] == Why("kept whole, asked for by", "image.requirements")
    assert "CUDA's libraries" in found["nvidia/cu13/lib/libcublas.so.13"].how


def test_what_a_user_adds_keeps_all_but_the_installers_notes(tree: Path) -> None:
    assert "extra/tests/test_a.py" not in list_kept(explain_files(tree, Needs(ROOTS)))
    kept = list_kept(explain_files(tree, Needs(ROOTS, (("extra", "image.requirements"), ("numpy", "extra")))))
    assert {"numpy/testing/__init__.py", "numpy/random/data.csv", "numpy/__init__.pyi", *ADDED} <= {*kept}
    assert "numpy-2.dist-info/entry_points.txt" in kept
    assert {"bin/extra", "extra-1.dist-info/RECORD", "numpy/__pycache__/core.cpython-311.pyc"}.isdisjoint(kept)


def test_a_listing_follows_what_took_openblas_its_place(tree: Path) -> None:
    files = prune(tree, Needs(ROOTS))
    (tree / "numpy/core.py").write_text("longer")
    (tree / "numpy/_pytesttester.py").unlink()
    found = {file.path: file for file in refresh_files(tree, files)}
    assert found["numpy/core.py"].size_bytes == 6
    gone = found["numpy/_pytesttester.py"]
    assert (gone.kept, gone.size_bytes > 0, "OpenBLAS" in gone.why.how) == (False, True, True)
    assert [one for one in found.values() if one.path not in ("numpy/core.py", "numpy/_pytesttester.py")] == [
        one for one in files if one.path not in ("numpy/core.py", "numpy/_pytesttester.py")
    ]


def test_files_tell_their_package_and_size(tree: Path) -> None:
    found = {file.path: file for file in explain_files(tree, Needs(ROOTS))}
    assert (found["numpy/LICENSE.txt"].package, found["numpy/LICENSE.txt"].size_bytes) == ("numpy", 17)
    assert found["nvidia/cu13/lib/libcublas.so.13"].package == "nvidia-cublas"
