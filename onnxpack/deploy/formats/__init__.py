"""Define what a format of manifests gives; each is one module, which meets ``Format``."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from onnxpack.deploy import list_formats
from onnxpack.deploy.builds import Build
from onnxpack.deploy.sizing import Sizing
from onnxpack.oci.reference import ImageReference


@dataclass(frozen=True)
class Wanted:
    """A build, what its Pods need, and its image where the report does not know it."""

    build: Build
    sizing: Sizing
    image: ImageReference | None = None


@dataclass(frozen=True)
class Manifests:
    """The files of one build: texts, and files that are copied as they are, by their paths below ``folder``."""

    folder: str
    texts: Mapping[str, str]
    copies: Mapping[str, Path]


class Format(Protocol):
    """What a module of one format offers."""

    TITLE: str
    """What it is for, in a few words."""

    def make(self, wanted: Wanted) -> Manifests:
        """Return the files.

        Raises:
            SpecError: this format cannot express the build.
        """


def load_format(name: str) -> Format:
    """Return the module of a format."""
    if name not in list_formats():
        raise ValueError(name)
    return cast(Format, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))
