"""What is on this machine now, looked at once for many specs."""

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.image import load_engine
from onnxpack.spec.load import find_work_tree

if TYPE_CHECKING:
    from onnxpack.image.engine import Engine


class Present:
    """Answers about folders and images, each of which is looked for once.

    They are those of the moment when it was asked first: after a build, and after a while, a new one is to be made.
    """

    def __init__(self, engine: str) -> None:
        """``engine`` is the name of the one that keeps the images; nothing asks it before it must."""
        self._name = engine
        self._digests: dict[tuple[str, ...], str] = {}
        self._roots: dict[str, str] = {}

    def digest(self, digest_folder: Callable[[Path], str], root: str, folder: str) -> str:
        """Return what a function gives of a folder, which may be relative to the work tree ``root``."""
        key = (digest_folder.__name__, root, folder)
        if key not in self._digests:
            self._digests[key] = digest_folder(Path(root, folder))
        return self._digests[key]

    def find_root(self, spec: str) -> str:
        """Return the work tree of a spec."""
        folder = os.path.dirname(spec)  # noqa: PTH120 - one of thousands
        if folder not in self._roots:
            self._roots[folder] = str(find_work_tree(Path(folder)))
        return self._roots[folder]

    @cached_property
    def engine(self) -> "Engine":
        """Return the engine."""
        return load_engine(self._name)

    @cached_property
    def images(self) -> Mapping[str, str]:
        """Return the ids of the engine's images, by their names; raise EngineError if it does not answer."""
        return self.engine.list_names()

    @cached_property
    def has_gpu(self) -> bool:
        """Return whether containers of the engine can have a GPU; raise EngineError if it does not answer."""
        return self.engine.has_gpu()
