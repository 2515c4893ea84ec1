"""The runtime layer keeps what a session loads, and every licence."""

from pathlib import Path

import numpy as np
import pytest

from onnxpack.bundle import packages
from onnxpack.bundle.packages import install, prune, read_needed_libraries
from onnxpack.core.errors import EngineError

STAYS = (
    "numpy/__init__.py",
    "numpy/_core/_multiarray_umath.so",
    "numpy/LICENSE.txt",
    "numpy/testing/__init__.py",
    "numpy.libs/libopenblas.so",
    "numpy-2.dist-info/METADATA",
    "numpy-2.dist-info/WHEEL",
    "numpy-2.dist-info/licenses/LICENSE.txt",
    "numpy-2.dist-info/licenses/numpy/random/src/pcg64/LICENSE.md",
    "numpy-2.dist-info/licenses/numpy/_core/tests/LICENSE",
    "numpy-2.dist-info/licenses/some.h",
    "onnxruntime/__init__.py",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/capi/onnxruntime_pybind11_state.so",
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "nvidia/cu13/lib/libcublas.so.13",
    "nvidia/cu13/License.txt",
    "httptools/parser/protocol.py",
    "grpc/aio/_server.py",
    "grpc/_cython/cygrpc.so",
    "grpcio-1.dist-info/licenses/LICENSE",
)
GOES = (
    "bin/numpy-config",
    ".lock",
    "numpy/__init__.pyi",
    "numpy/py.typed",
    "numpy/__pycache__/a.cpython-311.pyc",
    "numpy/_core/include/numpy/arrayobject.h",
    "numpy/_core/tests/test_a.py",
    "numpy/_core/tests/data/a.csv",
    "numpy/f2py/__init__.py",
    "numpy/_core/_simd.cpython-311-x86_64-linux-gnu.so",
    "numpy/_core/_umath_tests.cpython-311-x86_64-linux-gnu.so",
    "numpy/fft/__init__.py",
    "numpy/polynomial/__init__.py",
    "numpy/random/__init__.py",
    "numpy/random/lib/libnpyrandom.a",
    "numpy/random/_pcg64.pxd",
    "numpy-2.dist-info/RECORD",
    "numpy-2.dist-info/INSTALLER",
    "numpy-2.dist-info/REQUESTED",
    "numpy-2.dist-info/entry_points.txt",
    "onnxruntime/quantization/__init__.py",
    "onnxruntime/tools/a/b.py",
    "onnxruntime/transformers/models/a.py",
    "onnxruntime/capi/libonnxruntime.so.1.31",
    "nvidia/cu13/include/cublas.h",
    "empty/tests/a.py",
    "grpc/_cython/_credentials/roots.pem",
    "grpc/framework/interfaces/face/face.py",
    "grpc/beta/utilities.py",
    "grpc/experimental/__init__.py",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (*STAYS, *GOES):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_prune_keeps_what_is_loaded_and_every_licence(tree: Path) -> None:
    prune(tree)
    assert files(tree) == sorted(STAYS)
    assert [path for path in tree.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


def test_prune_again_changes_nothing(tree: Path) -> None:
    prune(tree)
    prune(tree)
    assert files(tree) == sorted(STAYS)


def test_the_engines_second_copy_stays_where_something_links_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "read_needed_libraries", lambda path: ["libc.so.6", "libonnxruntime.so.1.31"])
    prune(tree)
    assert "onnxruntime/capi/libonnxruntime.so.1.31" in files(tree)


def test_links_are_read_from_the_library_itself(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))
    assert "libc.so.6" in read_needed_libraries(library)
    for data in (b"", b"\x7fELF", b"INPUT(libc.so)\n"):
        (tmp_path / "a.so").write_bytes(data)
        assert read_needed_libraries(tmp_path / "a.so") == []


def test_a_lock_without_packages_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "run_uv", lambda *arguments, what: pytest.fail("it ran"))
    with pytest.raises(EngineError, match="the lock holds no packages"):
        install("3.11", "linux/amd64", (), tmp_path)
