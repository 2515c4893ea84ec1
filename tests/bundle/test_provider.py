"""What the provider for a GPU links must be in the packages, the driver and the base's libraries excepted."""

from pathlib import Path

import numpy as np
import pytest

from onnxpack.bundle import packages
from onnxpack.bundle.provider import list_missing_libraries, require_linked_libraries
from onnxpack.core.errors import SpecError

LINKED = ["libcublas.so.13", "libcudart.so.13", "libcuda.so.1", "libstdc++.so.6", "libc.so.6"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages whose provider links a library of each kind."""
    for name in ("onnxruntime/capi/libonnxruntime_providers_cuda.so", "nvidia/cu13/lib/libcublas.so.13"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    monkeypatch.setattr(packages, "read_needed_libraries", lambda path: LINKED if "provider" in path.name else [])
    return tmp_path


def test_a_missing_library_is_named(folder: Path) -> None:
    with pytest.raises(SpecError) as raised:
        require_linked_libraries(folder, "cuda")
    message = "onnxruntime's provider for cuda links libcudart.so.13, which no package of the image holds"
    assert raised.value.problems[0].message == message
    assert "onnxpack lock" in raised.value.problems[0].hint


def test_the_driver_and_the_bases_libraries_need_not_be_there(folder: Path) -> None:
    assert list_missing_libraries(folder, "cuda") == ("libcudart.so.13",)
    (folder / "nvidia/cu13/lib/libcudart.so.13").write_text("")
    assert list_missing_libraries(folder, "cuda") == ()
    require_linked_libraries(folder, "cuda")


def test_a_provider_that_links_nothing_of_nvidia_is_content(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))
    (tmp_path / "libonnxruntime_providers_cuda.so").symlink_to(library)
    assert list_missing_libraries(tmp_path, "cuda") == ()
