"""The sandbox of a child, by bubblewrap: no network, no secrets, and nothing to write but its own folders.

The whole file system is read-only. Homes, temporary files and sockets are hidden, except for what the task
works with: its work tree, the store, this Python and the one of an isolated environment.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from onnxpack.core.artifacts import Artifact, locate_data
from onnxpack.core.errors import EngineError
from onnxpack.spec.part import SpecPart

NAME = "bubblewrap"
"""The sandbox's name in a report."""
_PROGRAM = "bwrap"
_HIDDEN = ("/home", "/root", "/run", "/tmp", "/var/run", "/var/tmp", "/mnt", "/media", "/srv")  # noqa: S108
"""Folders of users' files, and of daemons' sockets, which can be used even in a read-only file system."""
_DEVICES = "nvidia*"
_VARIABLES = ("PATH", "TZ", "TERM", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
_BEGINNINGS = ("LANG", "LC_", "PYTHON", "ORT_", "OMP_", "OPENBLAS_", "MKL_")
"""Prefixes of other variables that a child gets: the settings of Python and its libraries."""
_SIGNALLED = 128
"""What bubblewrap, like a shell, adds to the number of the signal that ended its child."""


def require_sandbox() -> None:
    """Require that bubblewrap is installed and works for this user.

    Raises:
        EngineError: it is not installed, or does not work.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise EngineError(
            f"--sandbox needs {NAME}, and the program {_PROGRAM} is not installed",
            "install it, on Debian and Ubuntu with `apt-get install bubblewrap`, or leave out --sandbox",
        )
    command = [program, *_list_options((), ()), "/bin/true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    if tried.returncode:
        hint = "allow unprivileged user namespaces (in a container: by its security options), or leave out --sandbox"
        raise EngineError(f"{NAME} does not work here", hint, tried.stderr[-1000:])


def confine(
    command: list[str], variables: Mapping[str, str], scratch: Path, seen: Iterable[Path], written: Iterable[Path]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs ``command`` in a sandbox, and the variables that it gets there.

    It sees the paths ``seen``, and may write in ``written`` and in ``scratch``, where its home and its temporary files
    are.
    """
    interpreter = Path(command[0])
    own = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parent.parent]
    own += [Path(entry) for entry in sys.path if entry]
    # The interpreter of an environment is a link to the one that it was made with.
    own += [interpreter.parent.parent, interpreter.resolve().parent.parent]
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    known = {name: value for name, value in variables.items() if name in _VARIABLES or name.startswith(_BEGINNINGS)}
    options = _list_options((*own, *seen), (scratch, *written))
    return [_PROGRAM, *options, *command], known | {"HOME": str(temporary), "TMPDIR": str(temporary)}


def restore_status(status: int) -> int:
    """Convert bubblewrap's exit status to the child's own, negative for a signal as in ``subprocess``."""
    return _SIGNALLED - status if status > _SIGNALLED else status


def find_paths(value: Any) -> Iterator[Path]:
    """Yield the files and folders in a request, and files of external data beside them."""
    if isinstance(value, Artifact):
        yield from find_paths(value.path)
    elif isinstance(value, Path):
        # What is not there yet is to be written about: what it is about lies beside it.
        # A link is shown with the file that it leads to, which may lie in a hidden folder.
        named = dict.fromkeys((value, value.resolve(), locate_data(value)))
        yield from (path for path in named if path.exists())
        yield from () if value.exists() else (value.parent,)
    elif isinstance(value, SpecPart):
        yield value.file.root
        yield from map(Path, value.file.fetched.values())
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from find_paths(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_paths(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from find_paths(item)


def _list_options(seen: Iterable[Path], written: Iterable[Path]) -> list[str]:
    options = ["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for device in sorted(Path("/dev").glob(_DEVICES)):
        options += ["--dev-bind", str(device), str(device)]
    home = os.environ.get("HOME", "/")
    for place in dict.fromkeys((*_HIDDEN, *([home] if Path(home) != Path("/") else []))):
        if Path(place).is_dir() and not Path(place).is_symlink():
            options += ["--tmpfs", place]
    for shown in _find_outermost(seen):
        options += ["--ro-bind", str(shown), str(shown)]
    for changed in dict.fromkeys(written):
        options += ["--bind", str(changed), str(changed)]
    return options


def _find_outermost(places: Iterable[Path]) -> list[Path]:
    """Return the paths that exist, without those below another one: a later mount would cover an earlier one."""
    known = sorted({path.absolute() for path in places if path.exists()} - {Path("/")})
    return [path for path in known if not any(other != path and path.is_relative_to(other) for other in known)]
