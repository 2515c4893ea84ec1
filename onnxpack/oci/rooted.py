"""Find files in a folder that is a container's root, as a process in the container does.

Links of the image may name any path of the machine, so the system must not follow them.
"""

import os
from pathlib import Path

from onnxpack.core.errors import EngineError

_DEEPEST, _LONGEST = 100, 2048
"""How many folders a file may lie in, and the bytes of its path: what removes the tree again goes down by recursion."""
_LINKS = 40
"""How many links a path may lead through, as on Linux."""


def resolve_in_root(root: Path, path: str, *, last: bool = True) -> Path:
    """Return where a path of a container is, links followed as in it; what is not there yet is no link.

    ``last`` tells whether the path's last part is followed too.

    Raises:
        EngineError: it leads through too many links, or lies too deep.
    """
    found: list[str] = []
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del found[-1:]  # the root's parent is the root
            continue
        found.append(part)
        place = root.joinpath(*found)
        if len(found) > _DEEPEST or len(os.fsencode(place)) > len(os.fsencode(root)) + _LONGEST:
            raise _make_error("is too deep or too long", path)
        if (waiting or last) and place.is_symlink():
            target = str(place.readlink())
            links += 1
            if links > _LINKS:
                raise _make_error("leads through too many links", path)
            del found[0 if target.startswith("/") else -1 :]
            waiting += [word for word in reversed(target.split("/")) if word not in ("", ".")]
    return root.joinpath(*found)


def _make_error(what: str, path: str) -> EngineError:
    return EngineError(f"a path of the image {what}: {path[:200]!r}", "set `image.base` to another image")
