"""Containers without a daemon: an unpacked image in a box of the first runtime that works here."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from onnxpack.core.errors import EngineError
from onnxpack.core.interrupts import holding
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.image.engine import VOLUME, Container
from onnxpack.image.local_container import LocalContainer
from onnxpack.image.runtimes import VARIABLE, list_allowed
from onnxpack.image.runtimes.emulator import find_emulator
from onnxpack.image.runtimes.program import DEFAULT_PATH, find_user
from onnxpack.image.runtimes.runtime import EMULATOR, OUT, Box, Runtime
from onnxpack.oci.manifests import Platform
from onnxpack.oci.rooted import resolve_in_root

_TRIAL = ("python3", "-B", "-S", "-c")
"""Every base has this program; it leaves nothing in the files."""
_WAIT, _NOTHING = "import time; time.sleep(60)", "pass"
_SYSTEM_FOLDERS = ("/proc", "/dev", "/sys")
_SETTINGS = {"Env": list, "Entrypoint": list, "Cmd": list, "ExposedPorts": dict, "User": str, "WorkingDir": str}
"""The types of what is read of a configuration."""
_DIGITS = 5
"""Of a port's number."""
_SHOWN = 1000
"""How many characters of a runtime's words an error shows."""
_works: dict[tuple[str, Path | None], str] = {}
"""Why a runtime does not work here, for each emulator; empty if it does."""


@contextlib.contextmanager
def open_container(
    root: Path,
    config: Mapping[str, Any],
    files: Mapping[str, bytes],
    *,
    entrypoint: Sequence[str] | None = None,
    command: Sequence[str] | None = None,
    platform: Platform,
) -> Iterator[Container]:
    """Make a container of an unpacked image, to be started, with ``files`` in its volume beside a writable ``out/``.

    ``root`` has the image's files, is nobody else's, and gets the places of what is mounted in it. ``config`` is the
    configuration of the image, as JSON values; ``entrypoint`` and ``command`` take the place of its own ones.

    Raises:
        EngineError: nothing here can run it.
        GateError: the image names a user that it does not know.
        SpecError: ``ONNXPACK_RUNTIME`` names no runtime.
    """
    with make_temporary_folder() as scratch:
        settings = read_settings(config)
        line = list_command(settings, entrypoint, command)
        box = make_box(root, settings, scratch, line, find_emulator(platform))
        if entrypoint is not None:
            box = replace(box, ports=())  # only the image's own command is known to listen
        _write_files(box.volume, files)
        runtime = choose_runtime(box)
        with _holding(runtime, box) as container:
            yield container


def read_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an image's configuration says of its containers.

    Raises:
        EngineError: it is not of the form that images have.
    """
    settings = config.get("config") or {}
    for key, kind in _SETTINGS.items():
        value = settings.get(key) if isinstance(settings, dict) else settings
        if value is not None and not (isinstance(value, kind) and "\0" not in "".join(map(str, value))):
            raise EngineError(f"the image's configuration has an odd `{key}`", "set another `image.base`")
    return cast(Mapping[str, Any], settings)


def list_command(
    settings: Mapping[str, Any], entrypoint: Sequence[str] | None, command: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the command line of a container; a new entrypoint leaves nothing of the image's own command."""
    if entrypoint is not None:
        return (*entrypoint, *(command or ()))
    own = (settings.get("Cmd") or ()) if command is None else command
    return tuple(map(str, (*(settings.get("Entrypoint") or ()), *own)))


def make_box(
    root: Path, settings: Mapping[str, Any], scratch: Path, command: tuple[str, ...], emulator: Path | None
) -> Box:
    """Return the box of a container, whose folders and mount points are made; ``settings`` are the image's.

    Raises:
        GateError: the image names a user that it does not know.
    """
    root = root.resolve()
    root.chmod(0o755)  # it is the box's root, and a temporary folder is closed to others
    user, group, home = find_user(root, str(settings.get("User") or ""))
    folder = str(PurePosixPath("/", settings.get("WorkingDir") or ""))
    for place in (*_SYSTEM_FOLDERS, VOLUME, folder):
        _make_folder(root, place)
    if emulator:
        resolve_in_root(root, EMULATOR).touch()
    volume, state = _make_folders(scratch)
    own = dict(str(word).partition("=")[::2] for word in settings.get("Env") or ())
    env = {"PATH": DEFAULT_PATH, "HOME": home, "HOSTNAME": "onnxpack", **own}
    ports = (str(port).partition("/")[0] for port in settings.get("ExposedPorts") or ())
    return Box(
        name=f"onnxpack-check-{secrets.token_hex(8)}",
        root=root,
        volume=volume,
        state=state,
        command=command,
        env=env,
        folder=folder,
        user=user,
        group=group,
        ports=tuple(int(port) for port in ports if port.isdecimal() and len(port) <= _DIGITS),
        emulator=emulator,
    )


def choose_runtime(box: Box) -> Runtime:
    """Return the first runtime that works here, or the one that ``ONNXPACK_RUNTIME`` names.

    Raises:
        EngineError: none works.
        SpecError: the variable names none.
    """
    failures = []
    for runtime in list_allowed():
        key = (runtime.name, box.emulator)
        if key not in _works:
            _works[key] = _try_runtime(runtime, box)
        if not _works[key]:
            return runtime
        failures.append(f"{runtime.name}: {_works[key]}")
    raise EngineError(
        "no runtime here can run the image", f"install runc or bubblewrap, or unset {VARIABLE}", "\n".join(failures)
    )


def _try_runtime(runtime: Runtime, box: Box) -> str:
    """Run the image's Python in a box, and once more beside it; return why that does not work."""
    if runtime.find_version() is None:
        return "it is not installed"
    with make_temporary_folder() as scratch:
        volume, state = _make_folders(scratch)
        tried = replace(box, name=f"{box.name}-try", command=(*_TRIAL, _WAIT), state=state, volume=volume, ports=())
        with _holding(runtime, tried) as container:
            container.start()
            status, _, words = container.execute([*_TRIAL, _NOTHING])
            said = f"{''.join(container.output())}\n{words}".strip()
    return (said[-_SHOWN:] or f"exit status {status}") if status else ""


def _make_folders(scratch: Path) -> tuple[Path, Path]:
    """Make the volume of a box, with what can be written in it, and the folder of its runtime's own files."""
    volume, state = scratch / "volume", scratch / "state"
    for folder in (volume, state, volume / OUT):
        folder.mkdir()
    (volume / OUT).chmod(0o777)
    return volume, state


def _holding(runtime: Runtime, box: Box) -> contextlib.AbstractContextManager[LocalContainer]:
    version = runtime.find_version() or runtime.name
    words = f"{version} with {box.emulator.name}" if box.emulator else version
    return holding(lambda: LocalContainer(runtime, words, box), LocalContainer.end)


def _write_files(volume: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        place = volume / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o444)
    for folder in (volume, *(path for path in volume.rglob("*") if path.is_dir() and path.name != OUT)):
        folder.chmod(0o755)


def _make_folder(root: Path, place: str) -> None:
    """Make a folder of the image if it is not there; what something is mounted on may be no link."""
    path = resolve_in_root(root, place, last=place not in (*_SYSTEM_FOLDERS, VOLUME))
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
