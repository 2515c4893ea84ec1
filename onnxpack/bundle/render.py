"""The text files of an image: its Dockerfile, and the Python modules and documents that are generated for one model.

Templates hold text only. What they show is worked out in the views, one small frozen dataclass per family of
templates, and every piece of free text passes through a function of ``onnxpack.bundle.quoting``.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from onnxpack.bundle import quoting, templates
from onnxpack.bundle.layer import Root
from onnxpack.bundle.openapi import make_document
from onnxpack.bundle.page import PageView
from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.views import ModuleView
from onnxpack.oci.config import Healthcheck, Settings
from onnxpack.spec.rules import OWN_VARIABLES

__all__ = [
    "APP_FOLDER", "LIB_FOLDER", "MODEL_TREE", "RUNTIME_TREE", "TREES", "DockerView", "ModuleView",
    "list_template_imports", "list_template_roots", "render_dockerfile", "render_module",
    "render_step_modules",
]  # fmt: skip

APP_FOLDER = "/opt/onnxpack/app"
LIB_FOLDER = "/opt/onnxpack/lib"


@dataclass(frozen=True)
class Tree:
    """A folder of a context that becomes a layer, and the folder of the image that most of it is for."""

    path: str
    folder: str

    @property
    def instruction(self) -> str:
        """Return the line of the Dockerfile that makes the layer."""
        return f"COPY {self.path}/ /"

    def locate(self, context: Path) -> Path:
        """Return where the image's folder is in a context."""
        return context / f"{self.path}{self.folder}"


RUNTIME_TREE, MODEL_TREE = Tree("rootfs/runtime", LIB_FOLDER), Tree("rootfs/model", APP_FOLDER)
TREES = (RUNTIME_TREE, MODEL_TREE)
"""The layers of an image, the lower one first: engines, the Dockerfile and what is put into a context follow it."""
USER = "65532:65532"
"""Not root; `nonroot` in the images whose base is distroless."""
OWN_ENV = {
    "PYTHONPATH": f"{APP_FOLDER}:{LIB_FOLDER}",
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""The variables of every image."""
HEALTHCHECK = Healthcheck(("python3", "-S", "-m", "healthcheck"), interval=10, timeout=5, start_period=60, retries=3)
_IMPORT = re.compile(r"^(?:from|import) ([A-Za-z_][\w.]*)", re.MULTILINE)
_FROM = re.compile(r"^ *from ([A-Za-z_][\w.]*) import ([\w, ]*)", re.MULTILINE)
_WHOLE = re.compile(r"^ *import ([A-Za-z_][\w.]*)(?: as (\w+))?", re.MULTILINE)


@dataclass(frozen=True)
class DockerView:
    """The values that the Dockerfile shows; ``ports`` is empty where nothing listens."""

    base: str
    labels: Mapping[str, str]
    env: Mapping[str, str]
    ports: tuple[int, ...]
    server: str

    def __post_init__(self) -> None:
        quoting.check_image_reference(self.base)
        quoting.check_variables(self.env, reserved=OWN_VARIABLES)
        quoting.check_label_keys(self.labels)

    @property
    def settings(self) -> Settings:
        """Return the same values as an image's configuration has them: engines make images of either."""
        return Settings({**OWN_ENV, **self.env}, self.labels, USER, self.ports, self.healthcheck, self.entrypoint)

    @property
    def healthcheck(self) -> Healthcheck | None:
        """Return the health check, if there is a server."""
        return None if self.server == "none" else HEALTHCHECK

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """Return the command of a container."""
        return ("python3", "-m", "inference" if self.server == "none" else "server")

    @property
    def copies(self) -> tuple[str, ...]:
        """Return the instructions that make the layers."""
        return tuple(tree.instruction for tree in TREES)

    @property
    def user(self) -> str:
        """Return the user and group of a container's processes."""
        return USER

    @property
    def own_env_words(self) -> list[str]:
        """Return the variables that every image has as quoted words of a Dockerfile."""
        return [f"{name}={value}" for name, value in OWN_ENV.items()]

    @property
    def label_words(self) -> list[str]:
        """Return the labels as quoted words of a Dockerfile."""
        return [f"{key}={quoting.quote_docker_label(value)}" for key, value in self.labels.items()]

    @property
    def env_words(self) -> list[str]:
        """Return the environment variables as quoted words of a Dockerfile."""
        return [f"{name}={quoting.quote_docker_word(value)}" for name, value in self.env.items()]


def render_module(view: ModuleView) -> dict[str, str]:
    """Return the texts of the files of ``/opt/onnxpack/app`` besides the model, by file name."""
    names = ["inference.py", "files.py", "reference.py", "commands.py"]
    if view.tables:
        names.append("columns.py")
    if view.tables.read:
        names.append("records.py")
    names += list_step_modules(view)
    if view.server == "none":
        return {name: _render(name, view) for name in names}
    names += ["server.py", "serving.py", "app.py", "connection.py", "workers.py", "metrics.py"]
    names += ["protocol.py", "tensors.py", "documents.py", "content_coding.py", "forms.py"]
    names += ["healthcheck.py"]
    names += ["warming.py"] if view.warmup else []
    names += ["quick.py"] if view.reads_quickly else []
    names += ["prometheus.py", "extensions.py", "request_log.py"]
    names += ["rpc.py", "messages.py", "triton_messages.py", "wire.py"] if view.has_grpc else []
    names += ["batching.py"] if view.max_batch_size else []
    names += ["supervisor.py", "sharing.py"] if view.workers > 1 else []
    page = PageView(view)
    return {
        **{name: _render(name, view) for name in names},
        "predict.py": _render("predict.py", view, asked=PredictView(view)),
        "routes.py": _render("routes.py", view, policy=page.policy),
        "openapi.json": json.dumps(make_document(view), indent=1) + "\n",
        "page.html": _render("page.html", page),
    }


STEP_MODULES = ("checks.py", "conclusions.py", "intake.py", "pictures.py", "resampling.py", "texts.py")
"""The modules that only images have whose module does something to inputs or outputs itself."""


def list_step_modules(view: ModuleView) -> list[str]:
    """Return which of ``STEP_MODULES`` an image of this view has."""
    resampled = any(picture.functions for picture in view.pictures)
    taken = (bool(view.pictures), resampled, bool(view.texts))
    has = (bool(view.checks), bool(view.conclusions), view.has_steps, *taken)
    return [name for name, used in zip(STEP_MODULES, has, strict=True) if used]


def render_step_modules(view: ModuleView) -> dict[str, str]:
    """Return the texts of those of ``STEP_MODULES`` that an image of this view has, by file name."""
    return {name: _render(name, view) for name in list_step_modules(view)}


def list_template_imports() -> tuple[str, ...]:
    """Return the names of the modules that a template of a Python module may import at its top level."""
    names = {
        name
        for folder in templates.list_folders()
        for path in folder.glob("*.py.j2")
        for name in _IMPORT.findall(path.read_text(encoding="utf-8"))
    }
    return tuple(sorted(names))


def list_template_roots(steps: Mapping[str, str] = MappingProxyType({})) -> tuple[Root, ...]:
    """Return what the modules of an image use of other packages than the standard library, in any of their lines.

    Of ``STEP_MODULES`` those of ``steps`` count, as they are rendered for an image: a format that it does not take
    needs no package. All others always count, so that images of many kinds share their packages. Of names that several
    use, the module that comes first is told; the one that runs the model comes before all.
    """
    users: dict[str, str] = {}
    paths = [path for folder in templates.list_folders() for path in sorted(folder.glob("*.py.j2"))]
    names = {path.name.removesuffix(".j2"): path for path in paths}
    own = {name.partition(".")[0] for name in names}
    for module in sorted(names, key=lambda name: not name.startswith("inference.")):
        text = steps.get(module, "") if module in STEP_MODULES else names[module].read_text(encoding="utf-8")
        for name in _list_uses(text):
            if name.partition(".")[0] not in own | sys.stdlib_module_names:
                users.setdefault(name, f"app/{module}")
    return tuple(Root(name, users[name]) for name in sorted(users))


def _list_uses(text: str) -> Iterator[str]:
    """List the modules that a template of a module may import, and what it takes from them, as dotted names."""
    for module, names in _FROM.findall(text):
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
    aliases = {alias or module: module for module, alias in _WHOLE.findall(text)}
    for alias, module in aliases.items():
        yield module
        for found in re.finditer(rf"(?<![\w.]){re.escape(alias)}((?:\.[A-Za-z_]\w*)+)", text):
            yield f"{module}{found[1]}"


def render_dockerfile(view: DockerView) -> str:
    """Return the Dockerfile of a context, whose ``TREES`` become the layers."""
    return _render("Dockerfile", view)


def _render(name: str, view: ModuleView | PageView | DockerView, **more: object) -> str:
    return templates.render(name, view=view, **more)
