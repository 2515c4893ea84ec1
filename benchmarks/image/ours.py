"""Build and push our images, by the command line that users have."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.image.figures import (
    CHANGED,
    CHANGED_PACKING,
    CHANGED_STAGE,
    COLD,
    COLD_STAGE,
    MODEL_BYTES,
    OPENBLAS,
    SAME,
)
from benchmarks.image.models import find_spec_name, write_spec
from benchmarks.image.processes import run, time_run
from benchmarks.image.subjects import DOCKER, OCI, Ours

PACKING = ("bundle", "compile", "image")
"""The stages that have their like in a Dockerfile: the others export, verify and test."""


class OurMaker:
    """Makes the images of one engine on one base; each model has a store of its own."""

    def __init__(self, subject: Ours, home: Path, base: Path) -> None:
        self.subject = subject
        self._home = home
        self._base = base
        """The base as an archive: what the engine without a daemon takes."""

    def build_cold(self, model: str) -> dict[str, float]:
        """Build the first variant with nothing of earlier builds, and return what was measured."""
        seconds = self._build(model, 0, "--no-cache")
        report = self._read_report(model)
        folder = self._find_output(model)
        blas = [path for path in folder.glob("context/rootfs/**/libscipy_openblas*") if path.stat().st_size > 2**20]
        return {
            COLD: seconds,
            COLD_STAGE: sum_stages(report, ("image",)),
            MODEL_BYTES: float((folder / "model.onnx").stat().st_size),
            OPENBLAS: float(bool(blas)),
        }

    def change(self, model: str, variant: int) -> dict[str, float]:
        """Build another variant of the model with all else as it was."""
        seconds = self._build(model, variant)
        report = self._read_report(model)
        return {
            CHANGED: seconds,
            CHANGED_STAGE: sum_stages(report, ("image",)),
            CHANGED_PACKING: sum_stages(report, PACKING),
        }

    def repeat(self, model: str) -> dict[str, float]:
        """Build what was built last."""
        return {SAME: time_run(self._make_command(model), self._find_variables(model))}

    def find_image(self, model: str) -> str | None:
        """Return the name of the image in Docker's engine; None where it is in no engine."""
        if self.subject.engine == OCI:
            return None
        reference: str = self._read_report(model)["image"]["references"][-1]
        return reference

    def save(self, model: str, folder: Path) -> Path:
        """Return the image as an archive."""
        if self.subject.engine == OCI:
            return self._find_output(model) / "image.tar"
        path = folder / "saved.tar"
        run(["docker", "save", "--output", str(path), self.find_image(model) or ""])
        return path

    def push(self, model: str, host: str) -> float:
        """Push the image that was built last, and return the seconds that it takes."""
        slug = re.sub("[^a-z]+", "-", self.subject.title.lower())
        command = [sys.executable, "-m", "onnxpack", "push", str(self._find_output(model))]
        command += [f"{host}/{slug}:{find_spec_name(model)}", "--engine", self.subject.engine]
        return time_run(command, self._find_variables(model))

    def list_images(self) -> list[str]:
        """Return the names that Docker's engine has of this subject now."""
        if self.subject.engine != DOCKER:
            return []
        found = [self._home / model / "names" for model in self.subject.models]
        return [name for path in found if path.exists() for name in path.read_text().split()]

    def find_path(self, model: str) -> str:
        """Return where the server answers."""
        return f"/v2/models/{find_spec_name(model)}/infer"

    def _build(self, model: str, variant: int, *options: str) -> float:
        write_spec(model, variant, self.subject.base, self._home / model / "spec")
        seconds = time_run([*self._make_command(model), *options], self._find_variables(model))
        with (self._home / model / "names").open("a") as file:
            file.write("\n".join(self._read_report(model)["image"]["references"]) + "\n")
        return seconds

    def _make_command(self, model: str) -> list[str]:
        place = self._home / model
        command = [sys.executable, "-m", "onnxpack", "build", str(place / "spec"), "--output", str(place / "dist")]
        command += ["--engine", self.subject.engine]
        return [*command, "--base", str(self._base)] if self.subject.engine == OCI else command

    def _find_variables(self, model: str) -> dict[str, str]:
        return os.environ | {"ONNXPACK_CACHE": str(self._home / model / "store")}

    def _find_output(self, model: str) -> Path:
        return self._home / model / "dist" / find_spec_name(model) / "cpu"

    def _read_report(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._find_output(model) / "report.json").read_text())
        return found


def sum_stages(report: dict[str, Any], names: tuple[str, ...]) -> float:
    """Return the seconds that stages took together, those that were taken from the store with next to none."""
    return float(sum(stage["seconds"] for stage in report["stages"] if stage["name"] in names))
