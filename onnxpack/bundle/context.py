"""The build context: two trees that become the image's two layers, and the Dockerfile that copies them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.artifacts import Artifact, data_beside
from onnxpack.bundle.render import APP_FOLDER, LIB_FOLDER, DockerView, ModuleView, render_dockerfile, render_module
from onnxpack.store import digest
from onnxpack.values import OnnxModel

EPOCH = 315532800
"""1980-01-01, the time of every file and folder: the earliest that all archive formats can hold."""

VERSION_LABEL = "org.opencontainers.image.version"
CONTENT_LABEL = "dev.onnxpack.content"


@dataclass(frozen=True)
class Context:
    """A folder that ``docker build`` takes as it is.

    ``content_key`` is the digest of all that the image will hold, its version's name excepted.
    """

    folder: Path
    content_key: str
    version: str


def assemble(
    folder: Path, model: OnnxModel, packages: Artifact, view: ModuleView, dockerfile: DockerView, version: str | None
) -> Context:
    """Fill the empty ``folder``. Without a ``version`` the content key's first twelve digits are it."""
    key = _content_key(model, packages, view, dockerfile)
    chosen = version or key[:12]
    labels = {**dockerfile.labels, VERSION_LABEL: chosen, CONTENT_LABEL: key}
    runtime, app = folder / f"rootfs/runtime{LIB_FOLDER}", folder / f"rootfs/model{APP_FOLDER}"
    _copy_tree(packages.path, runtime)
    app.mkdir(parents=True)
    for source in model_files(model.path):
        shutil.copyfile(source, app / source.name)
    for name, text in render_module(replace(view, version=chosen)).items():
        (app / name).write_text(text, encoding="utf-8")
    instructions = render_dockerfile(replace(dockerfile, labels=labels))
    (folder / "Dockerfile").write_text(instructions, encoding="utf-8")
    normalise(folder)
    return Context(folder, key, chosen)


def _copy_tree(source: Path, destination: Path) -> None:
    """Like ``shutil.copytree``, but the first file that finds no room ends it, and is the only one told."""
    for parent, _, names in os.walk(source):
        target = destination / Path(parent).relative_to(source)
        target.mkdir(parents=True)
        for name in names:
            shutil.copyfile(Path(parent, name), target / name, follow_symlinks=False)


def model_files(model: Path) -> list[Path]:
    """The model and, if it is large, its external data beside it."""
    return [path for path in (model, data_beside(model)) if path.exists()]


def normalise(folder: Path) -> None:
    """Gives every file and folder one mode and one time, whatever the umask and the clock were."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            path.chmod(0o644)
            os.utime(path, (EPOCH, EPOCH))
        for name in folders:
            Path(parent, name).chmod(0o755)
            os.utime(Path(parent, name), (EPOCH, EPOCH))
    folder.chmod(0o755)
    os.utime(folder, (EPOCH, EPOCH))


def _content_key(model: OnnxModel, packages: Artifact, view: ModuleView, dockerfile: DockerView) -> str:
    texts: Mapping[str, str] = render_module(replace(view, version=""))
    return digest(model.file.digest, packages.digest, texts, render_dockerfile(dockerfile))
