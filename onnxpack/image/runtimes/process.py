"""Run an image's files in a plain process, where nothing can confine it: its Python and its libraries, on this machine.

It shows that the answers are right, and not that the image needs nothing else: the process may read and write whatever
this user may, and its server listens on this machine's own port.
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from onnxpack.bundle.compiler import ROOT_VARIABLE
from onnxpack.core.errors import EngineError, GateError
from onnxpack.core.regular import open_regular
from onnxpack.image.engine import VOLUME
from onnxpack.image.runtimes.keeper import keep_command
from onnxpack.image.runtimes.program import find_program
from onnxpack.image.runtimes.runtime import Box, Launch, Report
from onnxpack.oci.rooted import resolve_in_root
from onnxpack.timing.probe import FIRST_PROCESS

_LIBRARIES = ("/lib/{}", "/usr/lib/{}", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
"""Where glibc looks for libraries; ``{}`` is the name that Debian's folders have for a kind of machine."""
_PATHS = ("PYTHONPATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name places in the image."""


class Process:
    """The last resort."""

    name: ClassVar[str] = "process"
    rank: ClassVar[int] = 4
    report: ClassVar[Report] = Report.PROGRAM

    def find_version(self) -> str | None:
        """Return its name: it is always there."""
        return self.name

    def prepare(self, box: Box) -> None:
        """Let no link of the image lead to a file of this machine, and see that the server's port is free.

        Raises:
            EngineError: another program has the port.
        """
        relink(box.root)
        for port in box.ports:
            _require_free(port)

    def start(self, box: Box, report: int) -> Launch:
        """Return the command that runs the box's command by the image's own loader."""
        return _launch(box, box.command, "self")

    def has_started(self, process: int) -> bool:
        """Return True: there is no box."""
        return True

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        """Return the command that runs another one beside it."""
        launch = _launch(box, command, str(process))
        # Nothing else ends it with the build.
        return replace(launch, command=keep_command(launch.command))

    def clean(self, box: Box) -> tuple[str, ...]:
        """Return no command: it leaves nothing."""
        return ()


def relink(root: Path) -> None:
    """Let the links below a root that name an absolute path, or one above the root, lead to the same file below it."""
    for place in _list_links(root):
        target, folder = str(place.readlink()), place.parent.relative_to(root)
        climbs = os.path.normpath(target).split("/").count("..") > len(folder.parts)
        if target.startswith("/") or climbs:
            inner = os.path.normpath(f"/{target}" if target.startswith("/") else f"/{folder}/{target}").lstrip("/")
            place.unlink()
            place.symlink_to(os.path.relpath(root / inner, place.parent))


def _list_links(folder: Path) -> Iterable[Path]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_symlink():
            yield Path(entry)
        elif entry.is_dir(follow_symlinks=False):
            yield from _list_links(Path(entry))


def _launch(box: Box, command: Sequence[str], process: str) -> Launch:
    name, *arguments = command
    _, program = find_program(box, name)
    loader = find_loader(box.root, program)
    # Where the loader's own search ends, this machine's libraries begin: what the image lacks may be found there.
    libraries = (str(path) for path in _list_library_folders(box.root, loader))
    prefix = () if box.emulator is None else (str(box.emulator),)
    moved = [argument.replace(VOLUME, str(box.volume)) for argument in arguments]
    line = (*prefix, str(loader), "--inhibit-cache", "--library-path", ":".join(libraries), str(program), *moved)
    return Launch(line, {**_move_variables(box.env, box.root), ROOT_VARIABLE: str(box.root), FIRST_PROCESS: process})


def _move_variables(env: Mapping[str, str], root: Path) -> dict[str, str]:
    # What tells a loader where to look would reach this machine's own programs too.
    kept = {name: value for name, value in env.items() if not name.startswith("LD_")}
    return {name: _move_path(value, root) if name in _PATHS else value for name, value in kept.items()}


def _move_path(value: str, root: Path) -> str:
    return ":".join(f"{root}{part}" if part.startswith("/") else part for part in value.split(":"))


def find_loader(root: Path, program: Path) -> Path:
    """Return the image's own loader of a program.

    Raises:
        GateError: the program is none that a loader loads.
    """
    try:
        with open_regular(program) as stream:
            segments = [one for one in ELFFile(stream).iter_segments() if isinstance(one, InterpSegment)]
            names = [one.get_interp_name() for one in segments]
    except (ELFError, OSError, ValueError, KeyError) as error:
        raise _make_error(program, f"it cannot be read: {error}") from None
    if not names:
        raise _make_error(program, "it names no loader")
    return resolve_in_root(root, names[0])


def _list_library_folders(root: Path, loader: Path) -> list[Path]:
    # ld-linux-x86-64.so.2 and ld-linux-aarch64.so.1 name the machine; Debian's folders do with an underscore.
    machine = loader.name.removeprefix("ld-linux-").partition(".so")[0].replace("x86-64", "x86_64")
    places = [resolve_in_root(root, place.format(f"{machine}-linux-gnu")) for place in _LIBRARIES]
    return list(dict.fromkeys(place for place in places if place.is_dir()))


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            message = f"port {port} of this machine cannot be had: {(error.strerror or '').lower()}"
            message += "; the server of an image that runs as a plain process listens there"
            hint = "stop what has it, set `runtime.port`, or install runc or bubblewrap: their boxes have their own"
            raise EngineError(message, hint) from None


def _make_error(program: Path, why: str) -> GateError:
    return GateError(f"the image's {program.name} cannot be run as a process: {why}", "install runc or bubblewrap")


RUNTIME = Process
