"""Build and push images by Dockerfiles, as one writes them without onnxpack."""

import importlib.metadata
import re
import shutil
import sys
import time
from pathlib import Path

from benchmarks.image.figures import CHANGED, COLD, SAME
from benchmarks.image.models import find_spec_name, write_file
from benchmarks.image.processes import run, time_run
from benchmarks.image.subjects import SLIM, Usual

HERE = Path(__file__).parent
PYTHON = "3.11"
PACKAGES_DOCKERFILE = f"""FROM {SLIM}
COPY packages/ /opt/packages/
ENV PYTHONPATH=/opt/packages
"""
APP_DOCKERFILE = """FROM {packages}
WORKDIR /srv
COPY . .
ENTRYPOINT ["python3", {command}]
"""


class UsualMaker:
    """Makes the images of one set of packages.

    `RUN pip install` would need a network in the engine. So the packages are installed here, for the image's Python,
    into a folder that the Dockerfile copies; with that the same layers come out, and the same ones are kept from build
    to build. They are an image of their own, so that a build for another model does not send them to the engine again.
    """

    def __init__(self, subject: Usual, home: Path) -> None:
        self.subject = subject
        self._home = home
        self._slug = re.sub("[^a-z]+", "-", subject.title.lower()).strip("-")
        self._packages_seconds = 0.0

    def warm(self) -> None:
        """Have the packages in uv's cache."""
        self._install(self._home / "warm")
        shutil.rmtree(self._home / "warm")

    def build_cold(self, model: str) -> dict[str, float]:
        """Build the first variant; all models have one layer of packages, whose time counts for each."""
        if not self._packages_seconds:
            self._packages_seconds = self._make_packages()
        self._write_app(model, 0)
        return {COLD: self._packages_seconds + self._build(model, "--no-cache")}

    def change(self, model: str, variant: int) -> dict[str, float]:
        """Build another variant with the packages as they are."""
        self._write_app(model, variant)
        return {CHANGED: self._build(model)}

    def repeat(self, model: str) -> dict[str, float]:
        """Build what was built last."""
        return {SAME: self._build(model)}

    def find_image(self, model: str) -> str:
        """Return the name of the image in Docker's engine."""
        return f"onnxpack-benchmark/{self._slug}:{find_spec_name(model)}"

    def save(self, model: str, folder: Path) -> Path:
        """Return the image as an archive."""
        path = folder / "saved.tar"
        run(["docker", "save", "--output", str(path), self.find_image(model)])
        return path

    def push(self, model: str, host: str) -> float:
        """Push the image that was built last, and return the seconds that it takes."""
        name = f"{host}/{self._slug}:{find_spec_name(model)}"
        run(["docker", "tag", self.find_image(model), name])
        try:
            return time_run(["docker", "push", "--quiet", name])
        finally:
            run(["docker", "rmi", name])

    def list_images(self) -> list[str]:
        """Return the names that Docker's engine may have of this subject."""
        return [*map(self.find_image, self.subject.models), self._packages_image]

    def find_path(self, model: str) -> str:
        """Return where the server answers, whatever the model."""
        del model
        return self.subject.path

    @property
    def _packages_image(self) -> str:
        return f"onnxpack-benchmark/{self._slug}:packages"

    def _make_packages(self) -> float:
        """Install the packages and copy them into an image; return the seconds of both."""
        context = self._home / "packages"
        context.mkdir(parents=True)
        (context / "Dockerfile").write_text(PACKAGES_DOCKERFILE)
        started = time.perf_counter()
        self._install(context / "packages", "--compile-bytecode")
        run(["docker", "build", "--no-cache", "--tag", self._packages_image, str(context)])
        seconds = time.perf_counter() - started
        shutil.rmtree(context)
        return seconds

    def _install(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python-version", PYTHON, *options]
        run([*command, "--target", str(folder), *map(pin, self.subject.packages)])

    def _write_app(self, model: str, variant: int) -> None:
        folder = self._home / find_spec_name(model)
        folder.mkdir(parents=True, exist_ok=True)
        command = ", ".join(f'"{word}"' for word in self.subject.command)
        (folder / "Dockerfile").write_text(APP_DOCKERFILE.format(packages=self._packages_image, command=command))
        (folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
        shutil.copy(HERE / "usual" / self.subject.app, folder / "main.py")
        write_file(model, variant, self.subject.model_file, folder / self.subject.model_file)

    def _build(self, model: str, *options: str) -> float:
        folder = self._home / find_spec_name(model)
        return time_run(["docker", "build", *options, "--tag", self.find_image(model), str(folder)])


def pin(requirement: str) -> str:
    """Return a requirement; one that ends with ``==`` gets the version that is installed here."""
    name, mark, version = requirement.partition("==")
    return f"{name}=={importlib.metadata.version(name)}" if mark and not version else requirement
