"""Where a package index has the wheels that uv would install."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.worker.uv import run_uv, write_requirements


@dataclass(frozen=True)
class IndexWheel:
    """A wheel in an index: the name of its file, its URL and its SHA-256."""

    name: str
    url: str
    sha256: str


def find_wheels(requirements: Sequence[str], options: Sequence[str], what: str) -> tuple[IndexWheel, ...]:
    """Ask the index for the wheels of exact requirements with hashes; ``options`` are uv's for a Python and platform.

    ``what`` says in an error what they are for. Of a wheel that is in several places the first one is given.

    Raises:
        EngineError: the index cannot be reached, or has no such wheel, or gives no digest of one.
    """
    with make_temporary_folder() as folder:
        listed = run_uv(
            "pip",
            "compile",
            str(write_requirements(list(requirements), folder)),
            "--no-deps",
            "--no-header",
            "--format",
            "pylock.toml",
            *options,
            what=f"find the wheels of {what}",
        )
    try:
        packages = tomllib.loads(listed).get("packages", [])
        found = [_read_wheel(wheel) for package in packages for wheel in package["wheels"]]
    except (tomllib.TOMLDecodeError, LookupError, TypeError, AttributeError, ValueError) as error:
        text = f"what uv says of the wheels of {what} cannot be read: {flatten_words(error, 200)}"
        raise EngineError(text, "use an index that gives the SHA-256 of its wheels") from None
    return tuple({wheel.sha256: wheel for wheel in reversed(found)}.values())[::-1]


def _read_wheel(values: dict[str, Any]) -> IndexWheel:
    url = str(values["url"])
    name = values.get("name") or unquote(PurePosixPath(urlsplit(url).path).name)
    return IndexWheel(str(name), url, str(values["hashes"]["sha256"]))
