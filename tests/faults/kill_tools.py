"""What the tests of killed builds share: a project that builds without a network, and what must hold then."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from listening import listen
from onnx_examples import RELU, make_model
from wheels import make_wheel

from onnxpack.bundle import lock
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest_tree

PATIENCE = 120  # seconds, for whatever should happen at all
_QUICK_UV = """\
#!/bin/sh
if [ "$2" = compile ]; then
    case "$*" in *pylock.toml*) exec cat '{wheels}';; esac
    while [ "$1" != --output-file ]; do shift; done
    exec cp '{listed}' "$2"
fi
while [ "$1" != --target ]; do shift; done
exec cp -r '{unpacked}/.' "$2"
"""
_SCRATCH = re.compile(r"\.onnxpack-[a-z0-9_]{8}")


def make_template(folder: Path) -> "Place":
    """Make a project with a model in ONNX's own format, and beside it the only package index that its builds see."""
    index = folder.with_name("index")
    place = Place(folder, index)
    wheels = index / "wheels"
    for made in (wheels, folder / "project", place.temporary):
        made.mkdir(parents=True)
    make_wheel(wheels, "numpy", "2.9")
    make_wheel(wheels, "onnxruntime", "9.0")
    (index / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    onnx.save(make_model(RELU), folder / "project/m.onnx")
    place.write_spec("1")
    return place


def make_quick_uv(place: "Place", program: Path) -> None:
    """Make a program that answers as uv did for a finished build: a tenth of uv's time."""
    packages = lock.read(place.root / "project/spec.lock")["cpu"].packages
    listed, wheels = program.with_name("listed"), program.with_name("wheels.toml")
    listed.write_text("".join(f"{one.name}=={one.version}\n" for one in packages))
    wheels.write_text(
        "".join(
            f'[[packages]]\nname = "{one.name}"\n'
            f'wheels = [{{name = "{one.files[0]}", hashes = {{sha256 = "{one.hashes[0]}"}}}}]\n'
            for one in packages
        )
    )
    unpacked = place.output / "context/rootfs/runtime/opt/onnxpack/lib"
    program.write_text(_QUICK_UV.format(listed=listed, wheels=wheels, unpacked=unpacked))
    program.chmod(0o755)


@dataclass(frozen=True)
class Place:
    """A folder with a project, the store and the output of its builds, and their temporary files."""

    root: Path
    index: Path

    @property
    def spec(self) -> Path:
        return self.root / "project/spec.yaml"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def output(self) -> Path:
        return self.root / "dist/small/cpu"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def write_spec(self, version: str, **fields: Any) -> None:
        """Write the spec; another version makes another output."""
        spec = {
            "onnxpack": 1,
            "name": "small",
            "version": version,
            "model": {"framework": "onnx", "path": "m.onnx"},
            "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}},
            "dynamic_axes": {"n": {"min": 1, "max": 16}},
            "runtime": {"server": "none"},
        }
        self.spec.write_text(json.dumps(spec | fields))

    def copy(self, root: Path) -> "Place":
        """Copy all of it but the index."""
        shutil.copytree(self.root, root)
        return replace(self, root=root)

    def environment(self) -> dict[str, str]:
        """Return the variables of its builds."""
        tools = {"UV_CONFIG_FILE": str(self.index / "uv.toml"), "UV_CACHE_DIR": str(self.index / "cache")}
        own = {"ONNXPACK_CACHE": str(self.store), "TMPDIR": str(self.temporary)}
        return os.environ | tools | own | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def arguments(self) -> list[str]:
        """Return what a build is asked for; it needs no engine."""
        return ["build", str(self.spec), "--engine", "none", "--output", str(self.root / "dist")]

    def start(self) -> subprocess.Popen[str]:
        """Start a build as a user does, with its words in a pipe; it is the first of a process group."""
        return subprocess.Popen(
            [sys.executable, "-m", "onnxpack", *self.arguments()],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=listen,
        )

    def build(self) -> None:
        """Build, and make sure that it worked."""
        with self.start() as running:
            _, words = running.communicate(timeout=PATIENCE)
        assert running.returncode == 0, words

    def seen(self) -> dict[str, str]:
        """Return what stands in the place of the output: the digests of its files, those of times excepted."""
        if not self.output.is_dir():
            return {}
        found = digest_tree(self.output)
        assert found.pop("report.html")  # it says what the report does
        if "files.json" in found:
            # What answers for uv has the files of a finished layer alone: none is left out of those.
            files = json.loads((self.output / "files.json").read_text())["files"]
            found["files.json"] = " ".join(file["path"] for file in files if file["kept"])
        report = json.loads((self.output / "report.json").read_text())
        for stage in report["stages"]:
            stage.pop("why", None)  # it tells of the last build
            stage["seconds"] = stage["cached"] = stage["key"] = None  # a key tells also how a task ran
        report["batching"] = report["tools"] = None  # and so do the distributions that it imported
        found["report.json"] = hashlib.sha256(json.dumps(report).encode()).hexdigest()
        return found

    def leftovers(self) -> list[str]:
        """Return the scratch folders, locks and temporary files that are there."""
        locks = self.store / "locks"
        found = [*self.root.rglob(".*"), *self.temporary.iterdir(), *(locks.iterdir() if locks.is_dir() else ())]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def damaged(self) -> list[str]:
        """Return the entries of the store that are not whole."""
        store = Store(self.store)
        manifests = [path.parent for path in self.store.glob("*/*/data")]
        return [str(entry) for entry in manifests if store.get(entry.parent.name, entry.name) is None]

    def processes(self) -> list[str]:
        """Return the command lines of the processes that work here."""
        return sorted(words for folder in Path("/proc").glob("[0-9]*") for words in _working_in(self.root, folder))

    def sketch(self) -> str:
        """Return a digest of all that is here, whatever random names and times there are in it."""
        found = []
        for parent, folders, names in os.walk(self.root):
            place = _SCRATCH.sub("scratch", os.path.relpath(parent, self.root))
            for name in sorted((*folders, *names)):
                path = Path(parent, name)
                data = (
                    path.read_bytes() if path.is_file() and name.endswith((".onnx", ".lock", "manifest.json")) else b""
                )
                found.append((place, _SCRATCH.sub("scratch", name), data.hex()))
        return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that is to happen without further doing."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def _working_in(root: Path, folder: Path) -> Iterator[str]:
    """Yield the command line of a process if a variable or an argument of it names the folder, or it works there."""
    with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
        words = (folder / "cmdline").read_bytes()
        known = words + (folder / "environ").read_bytes() + os.fsencode((folder / "cwd").readlink())
        if int(folder.name) != os.getpid() and os.fsencode(root) in known:
            yield words.replace(b"\0", b" ").decode(errors="replace")
