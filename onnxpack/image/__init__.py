"""Build images, run them, and let them answer for the smoke test: one module for each engine.

An engine is a module that says ``ENGINE = Kind``, where the kind meets ``engine.Engine`` and is made without arguments;
nothing else names it. The line is read from the source, so that an engine's own packages are imported where it is used.
"""

import importlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from onnxpack.image.engine import Engine

DOCKER, DAEMONLESS = "docker", "oci"
"""The engine that is taken where it answers, and the one that needs nothing."""
IMAGES = "images"
"""The folder of the store for images that no daemon keeps, an OCI layout."""
ARCHIVE = "image.tar"
"""The file that a build without a daemon leaves: an OCI layout, and what `docker load` takes."""
_ENGINE = re.compile(r"^ENGINE = ", re.MULTILINE)


@cache
def list_engines() -> tuple[str, ...]:
    """Return the names of all engines, which are those of their modules, in alphabetical order."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(path.stem for path in modules if _ENGINE.search(path.read_text(encoding="utf-8")))


def choose_engine() -> str:
    """Return the name of the engine to take where none is named: Docker's if there is one, else what needs none."""
    engine = importlib.import_module(f"{__name__}.{DOCKER}").ENGINE()
    return DOCKER if engine.is_meant() else DAEMONLESS


def name_engine(engine: "Engine") -> str:
    """Return an engine's name, which is that of its module."""
    return type(engine).__module__.rpartition(".")[2]


def load_engine(name: str = DOCKER) -> "Engine":
    """Return a new engine of this name; it is not asked anything yet.

    Raises:
        ValueError: there is none.
    """
    if name not in list_engines():
        raise ValueError(f"there is no engine '{name}': {', '.join(list_engines())}")
    return cast("Engine", importlib.import_module(f"{__name__}.{name}").ENGINE())
