"""Run a box by runc, the program that Docker itself uses: an OCI bundle with a user namespace.

https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from onnxpack.image.runtimes.program import emulate
from onnxpack.image.runtimes.runtime import SHARED_MEMORY, Box, Launch, Report

_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where it lies if not on the user's path: that of an ordinary user lacks the folders of the system's programs."""
_NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "cgroup", "user")
_IDS = 65536
_HIDDEN = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_FIXED = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What Docker hides from containers, and what it does not let them write."""
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_SAFE = ("nosuid", "noexec", "nodev")


class Runc:
    """The runtime that is nearest to production."""

    name: ClassVar[str] = "runc"
    rank: ClassVar[int] = 1
    report: ClassVar[Report] = Report.FILE

    @cached_property
    def program(self) -> str | None:
        """Return the path of the program, if one is installed."""
        places = f"{os.environ.get('PATH', '')}:{_PLACES}"
        return shutil.which(self.name, path=places)

    def find_version(self) -> str | None:
        """Return the program's name and version; None if there is none."""
        if self.program is None:
            return None
        ended = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False)
        found = re.match(r"(\w+) version (\S+)", ended.stdout)
        return f"{found[1]} {found[2]}" if found else self.name

    def prepare(self, box: Box) -> None:
        """Write the bundle's configuration."""
        (box.state / "config.json").write_text(json.dumps(make_bundle(box, os.geteuid(), os.getegid())))

    def start(self, box: Box, report: int) -> Launch:
        """Return the command that runs a bundle in the foreground."""
        options = ("--no-new-keyring", "--bundle", str(box.state), "--pid-file", str(box.pid_file))
        return self._launch(box, "run", *options, box.name)

    def has_started(self, process: int) -> bool:
        """Return True: it tells the process when the box is there."""
        return True

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        """Return the command that runs another process, which is described in full: crun would run it as root."""
        place = box.state / f"process-{secrets.token_hex(4)}.json"
        place.write_text(json.dumps(make_process(box, command, os.geteuid())))
        return self._launch(box, "exec", "--process", str(place), box.name)

    def clean(self, box: Box) -> tuple[str, ...]:
        """Return the command that removes a container's control groups, and itself if it is still there."""
        return self._launch(box, "delete", "--force", box.name).command

    def _launch(self, box: Box, verb: str, *arguments: str) -> Launch:
        assert self.program
        known = {name: os.environ[name] for name in ("XDG_RUNTIME_DIR",) if name in os.environ}
        command = (self.program, "--root", str(box.state / "run"), verb, *arguments)
        return Launch(command, {"PATH": _PLACES, **known}, box.state)


def make_bundle(box: Box, user: int, group: int) -> dict[str, Any]:
    """Return the configuration of an OCI bundle, for a user of this machine with those ids.

    Root's boxes know all of an image's users; an ordinary user has one id to give.
    """
    ids = [(0, 0, _IDS), (0, 0, _IDS)] if user == 0 else [(0, user, 1), (0, group, 1)]
    users, groups = ([{"containerID": inner, "hostID": outer, "size": size}] for inner, outer, size in ids)
    return {
        "ociVersion": "1.0.2",
        "process": make_process(box, box.command, user),
        "root": {"path": str(box.root), "readonly": True},
        "hostname": "onnxpack",
        "mounts": [*_list_system_mounts(), *_list_own_mounts(box)],
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "uidMappings": users,
            "gidMappings": groups,
            "maskedPaths": [*_HIDDEN, *box.hidden],
            "readonlyPaths": list(_FIXED),
        },
    }


def make_process(box: Box, command: Sequence[str], user: int) -> dict[str, Any]:
    """Return how a command runs in a box of that user of this machine.

    An ordinary user is the box's first user, which has no capability there all the same.
    """
    return {
        "user": {"uid": box.user, "gid": box.group} if user == 0 else {"uid": 0, "gid": 0},
        "args": list(emulate(box, command)),
        "env": [f"{name}={value}" for name, value in box.env.items()],
        "cwd": box.folder,
        "capabilities": {kind: [] for kind in _CAPABILITIES},
        "noNewPrivileges": True,
    }


def _list_system_mounts() -> list[dict[str, Any]]:
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": [*_SAFE]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64k", "ro"],
        },
        {
            "destination": "/dev/shm",  # noqa: S108 - as everywhere
            "type": "tmpfs",
            "source": "shm",
            "options": [*_SAFE, "mode=1777", f"size={SHARED_MEMORY}"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
    ]


def _list_own_mounts(box: Box) -> list[dict[str, Any]]:
    return [
        {
            "destination": inner,
            "type": "bind",
            "source": str(outer),
            # The emulator is a program; what a check brings is data.
            "options": ["bind", "rw" if written else "ro", "nosuid", "nodev", *(["noexec"] if outer.is_dir() else [])],
        }
        for outer, inner, written in box.mounts
    ]


RUNTIME = Runc
