"""Packages of one CUDA are labelled with it and with the driver that it needs; packages of several are refused."""

from dataclasses import dataclass, replace

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.targets.cuda.versions import LEAST_DRIVERS, read_versions


@dataclass(frozen=True)
class Pinned:
    name: str
    version: str
    requires: tuple[str, ...] = ()


RUNTIME = Pinned("nvidia-cuda-runtime", "13.5.37")
ONNXRUNTIME = Pinned("onnxruntime-gpu", "1.31.1", ("nvidia-cuda-runtime", "nvidia-cudnn-cu13", "numpy"))
LOCK = (
    Pinned("numpy", "2.4.6"),
    Pinned("nvidia-cublas", "13.10.0.20", ("nvidia-cuda-nvrtc",)),
    Pinned("nvidia-cuda-nvrtc", "13.5.37"),
    RUNTIME,
    Pinned("nvidia-cudnn-cu13", "9.28.1.4", ("nvidia-cublas",)),
    Pinned("nvidia-cufft", "12.5.0.14"),
    Pinned("nvidia-curand", "10.4.5.25"),
    ONNXRUNTIME,
)


def test_an_image_tells_its_onnxruntime_its_cuda_and_the_driver_it_needs() -> None:
    found = read_versions(LOCK)
    assert found.labels == {
        "dev.onnxpack.onnxruntime": "1.31.1",
        "dev.onnxpack.cuda": "13.5.37",
        "dev.onnxpack.driver": ">=580",
    }
    assert found.env == {"NVIDIA_REQUIRE_CUDA": "cuda>=13.0"}


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (Pinned("nvidia-cublas", "12.9.1.4"), "CUDA 12 (nvidia-cublas 12.9.1.4), CUDA 13 (nvidia-cuda-nvrtc 13.5.37)"),
        (Pinned("nvidia-cudnn-cu12", "9.10"), "CUDA 12 (nvidia-cudnn-cu12), CUDA 13 (nvidia-cublas 13.10.0.20)"),
        (
            replace(ONNXRUNTIME, version="1.26.0", requires=("nvidia-cudnn-cu12", "nvidia-cublas-cu12")),
            "CUDA 12 (onnxruntime-gpu 1.26.0, which requires nvidia-cudnn-cu12), CUDA 13 (nvidia-cublas 13.10.0.20)",
        ),
        (
            Pinned("nvidia-cuda-runtime", "14.0"),
            "CUDA 13 (nvidia-cublas 13.10.0.20), CUDA 14 (nvidia-cuda-runtime 14.0)",
        ),
    ],
    ids=["cublas", "cudnn", "onnxruntime", "runtime"],
)
def test_packages_of_several_cudas_are_refused(package: Pinned, words: str) -> None:
    kept = [one for one in LOCK if one.name.removesuffix("-cu13") != package.name.removesuffix("-cu12")]
    with pytest.raises(SpecError) as raised:
        read_versions([*kept, package])
    assert raised.value.problems[0].message == f"the lock mixes versions of CUDA: {words}"
    assert raised.value.problems[0].hint == "run `onnxpack lock SPEC`"


def test_a_lock_without_the_cuda_runtime_is_refused() -> None:
    with pytest.raises(SpecError, match=r"holds no CUDA runtime .*onnxpack lock"):
        read_versions([one for one in LOCK if one != RUNTIME])


def test_a_cuda_that_nothing_is_known_of_has_no_driver_to_tell() -> None:
    found = read_versions(
        [Pinned("nvidia-cuda-runtime", "14.1"), replace(ONNXRUNTIME, requires=("nvidia-cudnn-cu14",))]
    )
    assert 14 not in LEAST_DRIVERS
    assert "dev.onnxpack.driver" not in found.labels
    assert found.env == {"NVIDIA_REQUIRE_CUDA": "cuda>=14.0"}
