"""What the tests of disks, entries and clocks share: a small project that builds without a network, and small disks."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
from command_line import Ended
from onnx_examples import MATMUL, constant, make_model
from wheels import make_wheel

from onnxpack.bundle import lock
from onnxpack.bundle.pins import collect_pins
from onnxpack.core.digests import digest_tree
from onnxpack.spec.load import load

TESTS = Path(__file__).parents[1]
SPEC = """\
onnxpack: 1
name: small
model: {framework: onnx, path: model.onnx}
inputs:
  x: {dtype: float32, shape: [batch, 4]}
dynamic_axes:
  batch: {min: 1, max: 16}
runtime: {server: none}
targets:
  cpu: {}
"""
WHEELS = {"numpy": "2.9", "onnxruntime": "1.99"}
"""Stand-ins of 50 kB each, in versions that a spec asks for."""


@dataclass(frozen=True)
class Project:
    """A folder with a locked spec, and a package index beside it that holds all that its bundle needs."""

    folder: Path
    around: Path

    @property
    def store(self) -> Path:
        return self.around / "store"

    def run(self, *arguments: str | Path, prefix: tuple[str, ...] = (), **variables: str | Path) -> Ended:
        """Run the command line in a process of its own, as a user does."""
        entered = (*prefix, "env", f"--chdir={self.folder}") if prefix else ()
        command = [*entered, sys.executable, "-m", "onnxpack", *map(str, arguments)]
        ended = subprocess.run(
            command, cwd=None if prefix else self.folder, env=self._environment(variables), capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def build(self, output: Path, *arguments: str, prefix: tuple[str, ...] = (), **variables: str | Path) -> Ended:
        """Build up to the context."""
        words = ("build", "spec.yaml", "--engine", "none", "--output", output, *arguments)
        return self.run(*words, prefix=prefix, **variables)

    def _environment(self, variables: Mapping[str, str | Path]) -> dict[str, str]:
        own: dict[str, str | Path] = {
            "ONNXPACK_CACHE": self.store,
            "UV_CONFIG_FILE": self.around / "uv.toml",
            "UV_CACHE_DIR": self.around / "uv",
            "TMPDIR": self.around / "tmp",
        }
        return os.environ | {name: str(value) for name, value in (own | dict(variables)).items()}


def make_project(around: Path) -> Project:
    """Make a project in an empty folder."""
    folder, wheels = around / "project", around / "wheels"
    for place in (folder, wheels, around / "tmp"):
        place.mkdir(parents=True)
    onnx.save(make_model(MATMUL, constants=[constant("w")]), folder / "model.onnx")
    (folder / "spec.yaml").write_text(SPEC)
    packages = []
    for name, version in WHEELS.items():
        make_wheel(wheels, name, version, code="#" * 50_000)
        wheel = wheels / f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        packages.append(lock.Package(name, version, (digest,), files=(wheel.name,)))
    (around / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    file = load(folder / "spec.yaml")
    asked = lock.make_unresolved_lock(file.spec, "cpu")
    pins = collect_pins(file, (), {})
    lock.write(folder / "spec.lock", {"cpu": replace(asked, packages=tuple(packages))}, pins)
    return Project(folder, around)


def shipped(output: Path) -> dict[str, str]:
    """Return the digests of all files of an output, but for the report and its page, which have times in them."""
    place = output / "small/cpu"
    found = digest_tree(place) if place.exists() else {}
    return {name: digest for name, digest in found.items() if name not in ("report.json", "report.html")}


class SmallDisk:
    """A tmpfs in a mount namespace of its own: it goes with the process that holds it, however the test ends."""

    def __init__(self, holder: subprocess.Popen[str], place: Path, prefix: tuple[str, ...]) -> None:
        """``prefix`` is the command that runs another one in the namespace."""
        self.place = place
        """Where it is for what runs in the namespace."""
        self.prefix = prefix
        self.seen = Path(f"/proc/{holder.pid}/root{place}")
        """Where it is for everybody else."""

    def mount_again(self, options: str) -> None:
        """Change the size of the disk, or make it read-only."""
        command = [*self.prefix, "mount", "-o", f"remount,{options}", str(self.place)]
        subprocess.run(command, check=True, capture_output=True)

    def left_over(self) -> list[str]:
        """Return the folders on it that a build worked in."""
        return [path.name for path in self.seen.rglob(".onnxpack-*")]


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs on ``place``, as root or in a user namespace; skip the test where neither works."""
    place.mkdir(parents=True, exist_ok=True)
    hold = f'mount -t tmpfs -o "{options}" tmpfs "{place}" && echo ready && exec cat'
    ways = {
        ("unshare", "--mount"): ("--mount",),
        ("unshare", "--user", "--map-root-user", "--mount"): ("--user", "--mount", "--preserve-credentials"),
    }
    if not all(map(shutil.which, ("unshare", "nsenter", "mount"))):
        pytest.skip("a small disk takes unshare, nsenter and mount of util-linux")
    for way, entered in ways.items():
        with subprocess.Popen(
            [*way, "sh", "-c", hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as holder:
            assert holder.stdin
            assert holder.stdout
            if holder.stdout.readline() == "ready\n":
                prefix = ("nsenter", f"--target={holder.pid}", *entered, "--")
                try:
                    yield SmallDisk(holder, place, prefix)
                finally:
                    holder.stdin.close()
                return
    pytest.skip("a small disk takes the right to mount one: run as root, or allow user namespaces")
