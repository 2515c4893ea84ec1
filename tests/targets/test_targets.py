"""A device is data: what its image needs, and what a model's operators make needless."""

import pytest

from onnxpack.targets import load_device
from onnxpack.worker.uv import name_platform

MLP = frozenset({"Gemm", "Relu", "Concat"})
CUDNN, NVRTC, CUFFT, NVJITLINK = "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc", "nvidia-cufft", "nvidia-nvjitlink"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_device_is_called_what_the_spec_calls_it(name: str) -> None:
    found = load_device(name)
    assert found.name == name
    assert sum(text.startswith("onnxruntime") for text in found.requirements) == 1, "the two share one folder"
    assert found.base
    assert "protobuf" in found.unused


@pytest.mark.parametrize(
    ("ops", "left_out"),
    [
        (MLP, {CUDNN, NVRTC, CUFFT, NVJITLINK}),
        (MLP | {"Conv"}, {CUFFT, NVJITLINK}),
        (MLP | {"Softmax"}, {CUFFT, NVJITLINK}),
        (MLP | {"DFT"}, set()),
        (MLP | {"SomethingNew"}, {CUFFT, NVJITLINK}),
    ],
    ids=["plain", "convolution", "softmax", "fourier", "unknown"],
)
def test_cuda_leaves_out_only_what_the_operators_surely_do_not_load(ops: frozenset[str], left_out: set[str]) -> None:
    assert load_device("cuda").find_unneeded(ops) == left_out


def test_the_cpu_leaves_nothing_out() -> None:
    assert load_device("cpu").find_unneeded(MLP) == frozenset()


def test_platforms_have_a_word_for_the_resolver() -> None:
    assert name_platform("linux/amd64") == "x86_64-manylinux_2_28"
