"""An image for another processor needs the program that runs it here."""

from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.image.runtimes import emulator
from onnxpack.image.runtimes.emulator import find_emulator
from onnxpack.oci.manifests import Platform

ARM, INTEL = Platform("linux", "arm64", "v8"), Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("machine", "wanted", "program"),
    [
        ("x86_64", INTEL, None),
        ("aarch64", ARM, None),
        ("x86_64", ARM, "qemu-aarch64-static"),
        ("aarch64", INTEL, "qemu-x86_64-static"),
        ("x86_64", Platform("linux", "riscv64"), "qemu-riscv64-static"),
    ],
)
def test_qemu_is_named_for_another_processor(
    monkeypatch: pytest.MonkeyPatch, machine: str, wanted: Platform, program: str | None
) -> None:
    monkeypatch.setattr(emulator.platform, "machine", lambda: machine)
    monkeypatch.setattr(emulator.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert find_emulator(wanted) == (Path(f"/usr/bin/{program}") if program else None)


def test_without_qemu_an_image_for_another_processor_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(emulator.shutil, "which", lambda name: None)
    with pytest.raises(
        EngineError, match="an image for linux/arm64 cannot be run on this machine, which is x86_64"
    ) as no:
        find_emulator(ARM)
    assert "qemu-user-static" in no.value.problems[0].hint
