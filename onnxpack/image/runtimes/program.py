"""Find an image's programs and users in its unpacked files."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from onnxpack.core.errors import GateError
from onnxpack.core.regular import is_regular, read_regular
from onnxpack.image.runtimes.runtime import EMULATOR, Box
from onnxpack.oci.rooted import resolve_in_root

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs lie if the image does not say it; engines have the same."""
_LIMIT = 2**20
_DIGITS = 5


def find_program(box: Box, name: str) -> tuple[str, Path]:
    """Return the path of a program in a box, and the file that it is on this machine.

    Raises:
        GateError: the image has none of that name.
    """
    folders = box.env.get("PATH", DEFAULT_PATH).split(":")
    places = [str(PurePosixPath(box.folder, name))] if "/" in name else [f"{folder}/{name}" for folder in folders]
    for place in places:
        path = resolve_in_root(box.root, place)
        if place.startswith("/") and is_regular(path) and os.access(path, os.X_OK):
            return place, path
    raise GateError(
        f"the image's command cannot be run: it has no program '{name[:200]}'",
        "set `image.base` to an image with the python3 that `image.python` names",
    )


def emulate(box: Box, command: Sequence[str]) -> tuple[str, ...]:
    """Return a box's command as it is run there: as it is, or by the emulator of its processor.

    Raises:
        GateError: the image has no such program.
    """
    place, _ = find_program(box, command[0])
    # The program is told the name that it was called by.
    return (EMULATOR, "-0", command[0], place, *command[1:]) if box.emulator else tuple(command)


def find_user(root: Path, words: str) -> tuple[int, int, str]:
    """Return the ids of the user and the group that an image's ``User`` names, and the user's home.

    Raises:
        GateError: the image does not know them.
    """
    user, _, group = words.partition(":")
    users = _read_table(root, "/etc/passwd")
    row = next((row for row in users if (user or "0") in (row[0], row[2])), [])
    number = _parse_id(user or "0") if not row else _parse_id(row[2])
    if number is None:
        raise _make_error("user", user)
    groups = {row[0]: row[2] for row in _read_table(root, "/etc/group")}
    named = _parse_id(groups.get(group, group)) if group else _parse_id(row[3]) if len(row) > 3 else 0
    if named is None:
        raise _make_error("group", group)
    return number, named, row[5] if len(row) > 5 and row[5].startswith("/") else "/"


def _read_table(root: Path, name: str) -> list[list[str]]:
    """Return the rows of a file like ``/etc/passwd``, those with a number in their third column."""
    try:
        text = read_regular(resolve_in_root(root, name), _LIMIT).decode(errors="replace")
    except OSError:
        return []
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) > 2 and row[2].isdecimal()]


def _parse_id(text: str) -> int | None:
    known = len(text) <= _DIGITS and text.isascii() and text.isdecimal() and int(text) < 2**16
    return int(text) if known else None


def _make_error(what: str, name: str) -> GateError:
    hint = "use a number below 65536, or set another `image.base`"
    return GateError(f"the image's {what} '{name[:200]}' is not one that it knows", hint)
