"""Every locked distribution is in the image for a reason, or left out for one."""

import pytest

from onnxpack.bundle.distributions import explain_packages
from onnxpack.bundle.lock import Package, TargetLock
from onnxpack.targets import load_device

CPU = ("httptools>=0.6", "numpy>=2,<3", "onnxruntime>=1.27", "orjson>=3.10")


def explain(
    device: str, ops: set[str], requirements: tuple[str, ...], *packages: Package
) -> list[tuple[str, bool, str]]:
    locked = TargetLock("3.11", "linux/amd64", requirements, packages)
    return [(row.name, row.kept, row.reason) for row in explain_packages(locked, load_device(device), frozenset(ops))]


def test_what_the_lock_was_asked_for_has_the_reason_of_the_one_who_asked() -> None:
    names = ("httptools", "numpy", "onnxruntime", "orjson", "Added.One", "extra")
    packages = [Package(name.lower().replace(".", "-"), "1", ("0" * 64,)) for name in names]
    packages[4] = Package("added-one", "1", ("0" * 64,), ("extra",))
    assert explain("cpu", {"Relu"}, (*CPU, "Added.One[x]==1"), *packages) == [
        ("httptools", True, "the server imports it"),
        ("numpy", True, "the generated module imports it"),
        ("onnxruntime", True, "the generated module imports it"),
        ("orjson", True, "the server imports it"),
        ("added-one", True, "the spec asks for it"),
        ("extra", True, "required by added-one"),
    ]


@pytest.mark.parametrize(("op", "kept"), [("Relu", False), ("Conv", True)])
def test_libraries_for_a_gpu_are_chosen_by_operators(op: str, kept: bool) -> None:
    packages = (
        Package("nvidia-cudnn-cu13", "9", (), ("nvidia-cublas",)),
        Package("onnxruntime-gpu", "1", (), ("nvidia-cudnn-cu13",)),
    )
    cudnn, runtime = explain("cuda", {op}, ("onnxruntime-gpu[cuda,cudnn]>=1.27",), *packages)
    assert cudnn[:2] == ("nvidia-cudnn-cu13", kept)
    assert runtime == ("onnxruntime-gpu", True, "the generated module imports it")
