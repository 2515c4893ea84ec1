"""Run a box by bubblewrap, which needs no control groups and no daemon; a second command joins its namespaces."""

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from onnxpack.image.runtimes.program import emulate
from onnxpack.image.runtimes.runtime import SHARED_MEMORY, Box, Launch, Report

_BWRAP, _NSENTER = "bwrap", "nsenter"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_NAMESPACES = ("user", "mount", "net", "pid", "ipc", "uts")


class Bubblewrap:
    """The runtime for places where runc cannot be: inside of containers, mostly."""

    name: ClassVar[str] = "bubblewrap"
    rank: ClassVar[int] = 3
    report: ClassVar[Report] = Report.DESCRIPTOR

    def find_version(self) -> str | None:
        """Return its name and version; None if it, or what joins namespaces, is not installed."""
        program = shutil.which(_BWRAP)
        if program is None or shutil.which(_NSENTER) is None:
            return None
        ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        return ended.stdout.strip() or self.name

    def prepare(self, box: Box) -> None:
        """Do nothing: all is on the command line."""

    def start(self, box: Box, report: int) -> Launch:
        """Return the command that runs the box's command as its first process."""
        return Launch(
            (
                _find(_BWRAP), "--unshare-all", "--die-with-parent", "--as-pid-1", "--info-fd", str(report),
                "--cap-drop", "ALL", "--uid", str(box.user), "--gid", str(box.group), "--hostname", "onnxpack",
                "--ro-bind", str(box.root), "/", "--proc", "/proc", *_list_devices(), "--ro-bind", "/sys", "/sys",
                *(word for place in box.hidden for word in ("--tmpfs", place, "--remount-ro", place)),
                *_list_own_mounts(box), "--chdir", box.folder, "--", *emulate(box, box.command),
            ),
            box.env,
        )  # fmt: skip

    def has_started(self, process: int) -> bool:
        """Return whether the process is no longer bubblewrap itself: it tells its number before the box is there."""
        with contextlib.suppress(OSError):  # it has ended
            return Path(f"/proc/{process}/comm").read_text().strip() != _BWRAP
        return True

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        """Return the command that runs another one in the namespaces of the first process."""
        namespaces = [f"--{kind}" for kind in _NAMESPACES]
        # The working folder is looked up in the box, not here.
        options = ("--target", str(process), *namespaces, "--preserve-credentials", f"--wdns={box.folder}")
        return Launch((_find(_NSENTER), *options, "--", *emulate(box, command)), box.env)

    def clean(self, box: Box) -> tuple[str, ...]:
        """Return no command: everything ends with the first process."""
        return ()


def _find(program: str) -> str:
    """Return the path of a program that was found before; its variables are the box's, so its name does not do."""
    return shutil.which(program) or program


def _list_devices() -> list[str]:
    """Return the options for ``/dev``.

    The program's own ``--dev`` brings terminals, for which it makes a second user namespace that nothing can join.
    """
    found = ["--tmpfs", "/dev"]
    for device in _DEVICES:
        found += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for name, place in _LINKS.items():
        found += ["--symlink", f"/proc/self/fd{place}", f"/dev/{name}"]
    shared = ("--size", str(SHARED_MEMORY), "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108 - as everywhere
    return [*found, *shared, "--remount-ro", "/dev"]


def _list_own_mounts(box: Box) -> list[str]:
    found: list[str] = []
    for outer, inner, written in box.mounts:
        found += ["--bind" if written else "--ro-bind", str(outer), inner]
    return found


RUNTIME = Bubblewrap
