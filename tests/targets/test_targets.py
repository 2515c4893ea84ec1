"""A device is data: what its image needs, which distributions a model's operators make needless, and why."""

from dataclasses import dataclass, replace

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.targets import Library, explain_distributions, label_runtime, list_device_names, load_device
from onnxpack.worker.uv import name_platform


@dataclass(frozen=True)
class Pinned:
    name: str
    version: str = "1.0"
    requires: tuple[str, ...] = ()


LIBRARIES = (
    Library("linked", "Linked", linked_by="libprovider.so"),
    Library("asked", "Asked", users={"Conv": "convolution", "MaxPool": "pooling", "Made": "sums"}),
)
DEVICE = replace(
    load_device("cpu"),
    libraries=LIBRARIES,
    known_ops=frozenset({"Conv", "MaxPool", "Add", "Relu", "Mul"}),
    fused_ops={"Made": frozenset({"Add", "Relu"})},
)


def explain(*ops: str) -> tuple[bool, str]:
    """Return whether the library that is loaded at need is kept for these operators, and why."""
    linked, asked = explain_distributions(DEVICE, (Pinned("linked"), Pinned("asked")), frozenset(ops), {})
    assert (linked.kept, linked.reason) == (True, "linked by libprovider.so")
    return asked.kept, asked.reason


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_device_is_called_what_the_spec_calls_it(name: str) -> None:
    found = load_device(name)
    assert found.name == name
    assert sum(text.startswith("onnxruntime") for text in found.requirements) == 1, "the two share one folder"
    assert found.base
    assert "protobuf" in found.unused


def test_devices_are_the_files_and_folders() -> None:
    assert list_device_names() == ("cpu", "cuda")


@pytest.mark.parametrize(
    ("ops", "kept", "reason"),
    [
        (["Add", "Mul"], False, "left out: no operator of this model loads Asked"),
        (["Conv", "Add"], True, "loaded by Conv (convolution)"),
        (["MaxPool", "Conv"], True, "loaded by Conv (convolution) and MaxPool (pooling)"),
        (["Mul", "Odd"], True, "kept: whether Odd loads it is not known"),
        (["A", "B", "C", "D", "E"], True, "kept: whether A, B, C and 2 more loads it is not known"),
        (["Conv", "Odd"], True, "loaded by Conv (convolution)"),
        (["Relu", "Add", "Mul"], True, "loaded by Made (sums), which onnxruntime makes of Add and Relu"),
    ],
    ids=["none", "one", "two", "unknown", "many unknown", "used and unknown", "fused"],
)
def test_a_library_is_left_out_only_where_no_operator_loads_it(ops: list[str], kept: bool, reason: str) -> None:
    assert explain(*ops) == (kept, reason)


def test_a_distribution_of_no_library_is_asked_for_or_required_by_others() -> None:
    packages = (
        Pinned("numpy", "2.4.6"),
        Pinned("a", requires=("c", "numpy")),
        Pinned("b", requires=("c",)),
        Pinned("c"),
    )
    found = explain_distributions(load_device("cpu"), packages, frozenset(), {"numpy": "we use it", "a": "x", "b": "x"})
    assert [(one.name, one.kept, one.reason) for one in found] == [
        ("numpy", True, "we use it"),
        ("a", True, "x"),
        ("b", True, "x"),
        ("c", True, "required by a and b"),
    ]
    assert found[0].version == "2.4.6"


def test_an_image_is_labelled_with_the_version_of_its_onnxruntime() -> None:
    label = {"dev.onnxpack.onnxruntime": "1.31.1"}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        assert label_runtime([Pinned("numpy"), Pinned(name, "1.31.1")]) == label
    versions = load_device("cpu").read_versions([Pinned("onnxruntime", "1.31.1")])
    assert (versions.labels, versions.env) == (label, {})
    with pytest.raises(SpecError, match=r"holds no onnxruntime .*onnxpack lock"):
        label_runtime([Pinned("numpy")])


def test_platforms_have_a_word_for_the_resolver() -> None:
    assert name_platform("linux/amd64") == "x86_64-manylinux_2_28"
