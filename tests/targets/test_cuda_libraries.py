"""NVIDIA's libraries are chosen by the model's operators."""

import pytest

from onnxpack.targets import explain_distributions, load_device
from onnxpack.targets.cuda.libraries import CUDNN_OPS, FOURIER_OPS, FUSED_OPS, LIBRARIES

CUDA = load_device("cuda")
CUDNN, NVRTC, CUFFT, NVJITLINK = "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc", "nvidia-cufft", "nvidia-nvjitlink"
LOADED = {CUDNN, NVRTC, CUFFT, NVJITLINK}
PLAIN = frozenset({"Add", "Relu", "Concat", "Shape", "Constant"})


class Pinned:
    """A package of a library, as a lock holds it."""

    version, requires = "13.1", ()

    def __init__(self, name: str) -> None:
        self.name = name


def explain(ops: frozenset[str]) -> dict[str, tuple[bool, str]]:
    packages = [Pinned(library.distribution) for library in LIBRARIES]
    return {one.name: (one.kept, one.reason) for one in explain_distributions(CUDA, packages, ops, {})}


@pytest.mark.parametrize(
    ("ops", "loaded"),
    [
        (PLAIN, set()),
        (PLAIN | {"MatMul"}, {NVRTC}),
        (PLAIN | {"Conv"}, {CUDNN, NVRTC}),
        (PLAIN | {"ReduceMean"}, {CUDNN, NVRTC}),
        (frozenset({"Softmax", "Relu"}), set()),
        (frozenset({"Softmax", "Add"}), {CUDNN, NVRTC}),
        (PLAIN | {"DFT"}, set()),
        (PLAIN | {"Rfft"}, {CUFFT, NVJITLINK, NVRTC}),
        (PLAIN | {"SomethingNew"}, LOADED),
        (PLAIN | {"GroupNormalization"}, LOADED),
    ],
    ids=["plain", "product", "convolution", "reduction", "softmax", "fused", "cpu", "fourier", "unknown", "function"],
)
def test_cuda_leaves_out_only_what_the_operators_surely_do_not_load(ops: frozenset[str], loaded: set[str]) -> None:
    assert {name for name, (kept, _) in explain(ops).items() if kept} & LOADED == loaded


def test_what_the_provider_links_is_in_every_image() -> None:
    linked = "nvidia-cublas", "nvidia-cuda-runtime", "nvidia-curand"
    found = explain(frozenset({"Relu"}))
    assert {found[name] for name in linked} == {(True, "linked by libonnxruntime_providers_cuda.so")}


def test_reasons_are_sentences_that_name_the_operators() -> None:
    found = explain(frozenset({"Conv", "MaxPool", "Gemm"}))
    assert found[CUDNN][1] == "loaded by Conv (convolution) and MaxPool (pooling)"
    assert found[NVRTC][1].startswith("loaded by Conv (cuDNN compiles with it), Gemm (cuBLASLt compiles with it) and")
    assert found[CUFFT][1] == "left out: no operator of this model loads cuFFT"
    fused = explain(frozenset({"Softmax", "Add"}))[CUDNN][1]
    assert fused == "loaded by BiasSoftmax (softmax of long rows), which onnxruntime makes of Add and Softmax"


def test_fused_operators_load_something_and_are_made_of_what_does_not() -> None:
    users = CUDNN_OPS.keys() | FOURIER_OPS.keys()
    assert FUSED_OPS.keys() <= users
    assert not frozenset().union(*FUSED_OPS.values()) & users
