"""Platforms have the names of images, and machines those of Linux."""

import platform

import pytest

from onnxpack.core.platforms import MACHINES, find_machine, find_own_platform


@pytest.mark.parametrize(
    ("name", "machine"),
    [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64"), ("linux/riscv64", "riscv64"), ("linux/arm/v7", "arm")],
)
def test_a_platform_has_the_machine_of_linux(name: str, machine: str) -> None:
    assert find_machine(name) == machine


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("riscv64", "linux/riscv64")]
)
def test_this_machine_has_the_platform_of_images(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert find_own_platform() == name
    assert find_machine(name) == machine
    assert set(MACHINES) == {"linux/amd64", "linux/arm64"}
