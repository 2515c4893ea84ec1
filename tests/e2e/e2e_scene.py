"""Builds without a daemon that something happens to: what they work with, and what they leave."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from e2e_images import list_arguments
from e2e_tools import LABEL, Built, Running, Workshop, alive, eventually


@dataclass(frozen=True)
class Scene:
    """A spec with a store, an output that stands from an earlier version, and a folder for temporary files."""

    workshop: Workshop
    base: Path
    spec: Path
    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def images(self) -> Path:
        return self.store / "images"

    @property
    def place(self) -> Path:
        """Return the folder of the output."""
        return self.root / "dist/iris/cpu"

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        return "build", self.spec, "--output", self.root / "dist", *list_arguments(self.base)

    @property
    def variables(self) -> dict[str, str]:
        return {"ONNXPACK_CACHE": str(self.store), "TMPDIR": str(self.root / "tmp")}

    def start(self, *options: str) -> Running:
        return self.workshop.start(*self.arguments, *options, **self.variables)

    def build(self, *options: str | Path) -> Built:
        return self.workshop.build(
            self.spec, self.root / "dist", *list_arguments(self.base), *options, **self.variables
        )

    def forget(self, *folders: str) -> None:
        """Remove folders of the store, so that the next build has that to do."""
        for name in folders:
            shutil.rmtree(self.store / name, ignore_errors=True)

    def begin(self, stage: str) -> tuple[Running, set[int]]:
        """Start a build and wait until it is in the midst of a stage; return the processes that work on it too."""
        self.forget("images" if stage == "image" else stage)
        running = self.start(*(() if stage == "smoke" else ("--until", "image")))
        running.reaches(stage)
        if stage != "image":
            eventually(self.find_containers, f"{stage} had a container")
        return running, running.family()

    def find_containers(self) -> list[Path]:
        """Return what a container of a build has printed so far: there is a file as soon as it is to start."""
        return list((self.root / "tmp").glob(".onnxpack-*/state/stdout"))

    def processes(self) -> list[str]:
        """Return the command lines of all processes that know the folder for temporary files."""
        word, found = os.fsencode(self.root / "tmp"), []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                known = [(process / name).read_bytes() for name in ("environ", "cmdline", "mountinfo")]
                if int(process.name) != os.getpid() and any(word in data for data in known):
                    found.append(known[1].replace(b"\0", b" ").decode(errors="replace"))
        return found

    def partial(self) -> list[str]:
        """Return what builds work with: folders and locks in the output, the store and for temporary files."""
        found = [*self.root.rglob(".onnxpack-*"), *(self.root / "tmp").iterdir(), *self.store.glob("locks/*")]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def require_nobody(self, family: set[int]) -> None:
        """Wait until every process of a build is gone, those in its containers too."""
        eventually(lambda: not alive(family) and not self.processes(), f"{self.processes()} ended")


def make_scene(workshop: Workshop, base: Path, daemonless: Built, root: Path, label: str = "") -> Scene:
    """Make a scene in an empty folder: the whole store, and the spec of what is in it, with one more label if asked."""
    spec = root / "daemonless/iris/spec.yaml"
    shutil.copytree(daemonless.spec.parent, spec.parent)
    workshop.edit(spec, image={"labels": {LABEL: workshop.token, **({label: "yes"} if label else {})}})
    shutil.copytree(workshop.cache, root / "store")
    shutil.copytree(daemonless.output, root / "dist/iris/cpu")
    (root / "tmp").mkdir()
    report = root / "dist/iris/cpu/report.json"
    whose = os.path.relpath(spec, report.parent)  # what stands there is this spec's own
    report.write_text(json.dumps(json.loads(report.read_text()) | {"spec": whose}))
    return Scene(workshop, base, spec, root)


def digest_of(built: Built) -> str:
    digest: str = built.report["image"]["digest"]
    return digest
