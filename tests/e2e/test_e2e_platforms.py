"""One spec gives images for two kinds of machines, tested on one of them, and one name in a registry for both."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_tools import Built, Workshop, failed_stages, fails
from elftools.elf.elffile import ELFFile
from registries import Served, running_registry
from told import Told

from onnxpack.core.platforms import MACHINES, find_machine, find_own_platform
from onnxpack.oci.copies import import_image
from onnxpack.oci.layout import Layout
from onnxpack.oci.pull import pull
from onnxpack.oci.reference import parse_reference

_SCRIPT = Path(__file__).parents[2] / "scripts/base"
_BASE = "127.0.0.1:9/python:3.11"
OWN = find_own_platform()
(OTHER,) = MACHINES.keys() - {OWN}
TARGETS = {platform: platform.partition("/")[2] for platform in (OWN, OTHER)}
"""The names of the targets, by platform."""


def make_base(folder: Path, platform: str) -> Path:
    """Write a stand-in of a base for a platform."""
    path = folder / f"{TARGETS[platform]}.tar"
    command = [sys.executable, _SCRIPT, _BASE, "--archive", path, "--architecture", TARGETS[platform]]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"Debian's packages for {platform} cannot be had: {made.stderr}")
    return path


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with a base for each platform."""
    folder = tmp_path_factory.mktemp("bases")
    layout = Layout(folder / "layout")
    for platform, name in TARGETS.items():
        layout.name(f"python:{name}", import_image(layout, make_base(folder, platform), platform))
    return layout.root


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


@pytest.fixture(scope="module")
def pushed(workshop: Workshop, bases: Path, registry: Served) -> dict[str, Any]:
    """The reports of both targets, by platform, and what the build said."""
    emulator = f"qemu-{find_machine(OTHER)}-static"
    if not shutil.which(emulator):
        pytest.skip(f"{emulator} is not installed")
    targets = {name: {"device": "cpu", "platform": platform} for platform, name in TARGETS.items()}
    image = {"repository": f"{registry.host}/team/iris"}
    gates = {"latency_p50": "1h", "image_size": "200MB"}
    spec = workshop.copy("iris", "platforms", targets=targets, image=image, gates=gates)
    spec.with_suffix(".lock").unlink()  # it has other targets
    output = workshop.root / "dist-platforms"
    result = workshop.run("build", spec, "--engine", "oci", "--base", bases, "--output", output, "--push")
    assert result.code == 0, result.err
    folders = {platform: output / "iris" / name for platform, name in TARGETS.items()}
    return {"result": result} | {platform: Built(spec, result, folder) for platform, folder in folders.items()}


@pytest.mark.parametrize("platform", [OWN, OTHER])
def test_an_image_for_either_machine_passes_its_test(pushed: dict[str, Any], platform: str) -> None:
    report = pushed[platform].report
    assert report["smoke"]["comparisons"] > 0
    assert report["smoke"]["emulated"] is (platform == OTHER)
    assert ("qemu" in report["smoke"]["runtime"]) is (platform == OTHER)
    not_judged = {gate["gate"]: gate["why"] for gate in report["not_judged"]}
    assert not_judged == ({"latency_p50": "the image ran under emulation"} if platform == OTHER else {})


@pytest.mark.parametrize("platform", [OWN, OTHER])
def test_all_programs_in_an_image_are_for_its_machine(pushed: dict[str, Any], platform: str) -> None:
    libraries = list(pushed[platform].context.rglob("*.so"))
    assert len(libraries) > 5
    for path in libraries:
        with path.open("rb") as stream:
            assert ELFFile(stream).get_machine_arch() == {"x86_64": "x64", "aarch64": "AArch64"}[find_machine(platform)]


def test_one_name_gives_each_machine_its_image(pushed: dict[str, Any], registry: Served, tmp_path: Path) -> None:
    *own, joined = pushed["result"].out.splitlines()
    name, layout = f"{registry.host}/team/iris", Layout(tmp_path / "pulled")
    for platform, line in zip(TARGETS, own, strict=True):
        digest = line.partition("@")[2]
        assert line == f"{name}@{digest}"
        for reference in (joined, f"{name}:{pushed[platform].report['version']}"):
            assert pull(parse_reference(reference), platform, layout, Told()).digest == digest
    architecture = {
        platform: json.loads(layout.read(layout.read_manifest(entry).config.digest))["architecture"]
        for platform in TARGETS
        for entry in [pull(parse_reference(joined), platform, layout, Told())]
    }
    assert architecture == TARGETS


def test_docker_says_what_an_image_for_another_machine_needs(workshop: Workshop, engine: Any, tmp_path: Path) -> None:
    if any(Path("/proc/sys/fs/binfmt_misc").glob(f"qemu-{find_machine(OTHER)}")):
        pytest.skip("the kernel runs programs of that machine")
    name = f"{_BASE}-{TARGETS[OTHER]}"
    with make_base(tmp_path, OTHER).open("rb") as archive:
        engine.load_image(archive)
    engine.tag(_BASE, *name.rsplit(":", 1))
    try:
        targets = {"cpu": {"device": "cpu", "platform": OTHER}}
        spec = workshop.copy("iris", "foreign", targets=targets, image={"base": name})
        result = workshop.run("build", spec, "--engine", "docker", "--output", tmp_path / "dist")
    finally:
        engine.remove_image(name)
        engine.remove_image(_BASE)
    fails(result, 5, f"the base image is for {OTHER}", "qemu-user-static", "--engine oci")
    assert failed_stages(tmp_path / "dist") == ["base"]


@pytest.mark.parametrize("python", ["3.12", "3.14"])
def test_packages_are_there_for_every_python_and_machine(workshop: Workshop, python: str, tmp_path: Path) -> None:
    """No stand-in of a base has these Pythons; what can be proved without one is that all packages are for them."""
    targets = {name: {"device": "cpu", "platform": platform} for platform, name in TARGETS.items()}
    spec = workshop.copy("iris", f"python-{python}", targets=targets, image={"python": python})
    spec.with_suffix(".lock").unlink()  # it is of the Python that the spec had
    result = workshop.run("build", spec, "--engine", "none", "--output", tmp_path / "dist")
    assert result.code == 0, result.err
    for platform, name in TARGETS.items():
        modules = (tmp_path / "dist/iris" / name / "context").rglob("*.cpython-*.so")
        assert {path.name.split(".")[1] for path in modules} == {
            f"cpython-3{python.partition('.')[2]}-{find_machine(platform)}-linux-gnu"
        }
