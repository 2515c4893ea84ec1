"""The task that unpacks the packages of a runtime layer."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.bundle.layer import LayerFile, Needs
from onnxpack.bundle.lock import Package
from onnxpack.core.artifacts import Artifact
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class Installed:
    """The runtime layer's packages, unpacked and pruned, and the reasons for what was kept and what went."""

    files: Artifact
    listing: tuple[LayerFile, ...]


@dataclass(frozen=True)
class InstallPackages(Task[Installed]):
    """Unpack locked wheels for an image's Python and platform.

    ``blas`` is the library that may take OpenBLAS's place; None keeps OpenBLAS, for images with code of a user.
    """

    NAME = "bundle"
    TRUSTED = True
    python: str
    platform: str
    packages: tuple[Package, ...]
    needs: Needs
    blas: Artifact | None
    wheels: Path | None = None
    """A folder to take the wheels from, instead of an index; no key has it, since what is installed is the same."""

    def run(self, folder: Path, say: Say) -> Installed:
        """Install into ``folder`` and prune what no image needs."""
        from onnxpack.bundle.codecs import replace_codecs
        from onnxpack.bundle.openblas import replace_openblas
        from onnxpack.bundle.packages import install
        from onnxpack.bundle.prune import refresh_files

        listing = install(self.python, self.platform, self.packages, self.needs, folder, self.wheels)
        if self.blas and (reason := replace_openblas(folder, self.blas.path)):
            say(f"OpenBLAS stays in the image: {reason}")
        listing = refresh_files(folder, listing)
        return Installed(Artifact.of(folder), replace_codecs(folder, listing, self.needs))
