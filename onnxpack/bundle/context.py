"""The build context: two trees that become the image's two layers, and the Dockerfile that copies them."""

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnxpack.bundle.render import (
    MODEL_TREE,
    RUNTIME_TREE,
    DockerView,
    ModuleView,
    render_dockerfile,
    render_module,
)
from onnxpack.core.artifacts import Artifact, locate_data
from onnxpack.core.digests import digest
from onnxpack.core.regular import open_regular
from onnxpack.core.values import OnnxModel
from onnxpack.oci.manifests import EPOCH
from onnxpack.worker.code import digest_code

VERSION_LABEL = "org.opencontainers.image.version"
CONTENT_LABEL = "dev.onnxpack.content"
_DOCKERFILE = "Dockerfile"
_CHUNK = 2**20


@dataclass(frozen=True)
class Context:
    """A folder that ``docker build`` takes as it is.

    ``content_key`` is the digest of all that the image will hold, its version's name excepted.
    """

    folder: Path
    content_key: str
    version: str
    docker: DockerView
    """What its Dockerfile says."""


@dataclass(frozen=True)
class Parts:
    """The ingredients of a context; without a ``version`` the first twelve digits of the content key are used.

    ``data`` are more files that lie beside the module, by their names there.
    """

    model: OnnxModel
    packages: Artifact
    module: ModuleView
    docker: DockerView
    version: str | None = None
    data: Mapping[str, Artifact] = field(default_factory=dict)


def assemble(folder: Path, parts: Parts, earlier: Path | None = None) -> Context:
    """Fill the empty ``folder``; of an ``earlier`` context with the same content the files are linked, not copied."""
    key = compute_content_key(parts)
    version = parts.version or key[:12]
    labels = {**parts.docker.labels, VERSION_LABEL: version, CONTENT_LABEL: key}
    docker = replace(parts.docker, labels=labels)
    instructions = render_dockerfile(docker)
    runtime, app = RUNTIME_TREE.locate(folder), MODEL_TREE.locate(folder)
    # The Dockerfile has the content key in a label, so an equal one proves equal packages.
    known = earlier if earlier and _read(earlier / _DOCKERFILE) == instructions else None
    _copy_tree(parts.packages.path, runtime, known and known / runtime.relative_to(folder))
    app.mkdir(parents=True)
    for source in model_files(parts.model.path):
        shutil.copyfile(source, app / source.name)
    for name, file in parts.data.items():
        shutil.copyfile(file.path, app / name)
    for name, text in render_module(replace(parts.module, version=version)).items():
        (app / name).write_text(text, encoding="utf-8")
    (folder / _DOCKERFILE).write_text(instructions, encoding="utf-8")
    normalise(folder)
    return Context(folder, key, version, docker)


def _copy_tree(source: Path, destination: Path, earlier: Path | None) -> None:
    """Copy a folder, and stop at the first file that finds no room: ``shutil.copytree`` would list every one of them.

    A file of ``earlier``, a copy that was made of the same tree, is linked where it is as it was.
    """
    for parent, _, names in os.walk(source):
        relative = Path(parent).relative_to(source)
        (destination / relative).mkdir(parents=True)
        for name in names:
            file, target = Path(parent, name), destination / relative / name
            copy = earlier / relative / name if earlier else None
            if not (copy and _is_untouched(copy, file) and _link(copy, target)):
                shutil.copyfile(file, target, follow_symlinks=False)


def _link(file: Path, target: Path) -> bool:
    """Return whether a file could be linked: some file systems have no second names, or too few."""
    try:
        os.link(file, target)
    except OSError:
        return False
    return True


def _is_untouched(copy: Path, file: Path) -> bool:
    """Return whether a copy is as ``normalise`` left it: a disk may change its bytes without its time."""
    try:
        status = copy.lstat()
        known = (status.st_size, status.st_mtime_ns) == (file.lstat().st_size, EPOCH * 10**9)
        return stat.S_ISREG(status.st_mode) and known and _have_same_bytes(copy, file)
    except OSError:
        return False


def _have_same_bytes(one: Path, other: Path) -> bool:
    with open_regular(one) as first, open_regular(other) as second:
        while chunk := first.read(_CHUNK):
            if chunk != second.read(_CHUNK):
                return False
        return not second.read(1)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def model_files(model: Path) -> list[Path]:
    """Return the model's file and, if the model is large, the file of its external data beside it."""
    return [path for path in (model, locate_data(model)) if path.exists()]


def normalise(folder: Path) -> None:
    """Give every file and folder one mode and one time, whatever the umask and the clock are."""
    # Both are part of a layer's digest: the same files must give the same layer on every machine.
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


def compute_content_key(parts: Parts) -> str:
    """Return the digest of all that an image of these parts will hold, its version's name excepted."""
    # Without the version: where the spec has none, it is made of this key.
    texts: Mapping[str, str] = render_module(replace(parts.module, version=""))
    # What is compiled follows from the sources, the base, and this code.
    compiler = digest_code("onnxpack.bundle.compiler")
    files = [{name: file.digest for name, file in parts.data.items()}] if parts.data else []
    dockerfile = render_dockerfile(parts.docker)
    return digest(parts.model.file.digest, parts.packages.digest, texts, dockerfile, compiler, *files)
