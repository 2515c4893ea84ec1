"""Runs of uv, which resolves and installs packages also for another Python and platform than this one."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from onnxpack.core.errors import NO_RIGHT, NO_ROOM, EngineError, OnnxpackError
from onnxpack.core.interrupts import holding
from onnxpack.core.platforms import find_machine
from onnxpack.core.scratch import make_temporary_folder

GLIBC = (2, 28)
"""The oldest C library that onnxruntime's wheels run with."""
_NETWORK = (
    "dns error", "error sending request", "Failed to fetch", "client error", "timed out", "offline", "network was dis",
)  # fmt: skip
_NO_SOLUTION = "No solution found"
_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""What becomes a program that ends with the process which started it, also if that one is killed."""

_COLUMNS = "10000"
"""Wide enough that uv breaks no line: its words are read, and the width of a terminal would change them."""


def run_uv(
    *arguments: str,
    what: str,
    note: Callable[[str], None] = lambda line: None,
    unsolvable: type[OnnxpackError] = EngineError,
) -> str:
    """Run uv and return its standard output; each line of its standard error goes to ``note`` as it comes.

    Raises:
        EngineError: it failed; ``what`` says in the message what it should do.
        OnnxpackError: of the type ``unsolvable``: no set of packages fits the requirements.
        OSError: a disk has no room for what it writes, or is read-only.
    """
    from uv import find_uv_bin

    status, output, words = _run((find_uv_bin(), *arguments), note)
    if status:
        kind: type[OnnxpackError] = EngineError
        if full := _find_full_disk(words):
            raise full
        if any(sign in words for sign in _NETWORK):
            hint = "check the network and the package index; a build that is locked and cached needs neither"
        elif _NO_SOLUTION in words:
            kind, hint = unsolvable, "uv's reason is below"
        elif "hash" in words.lower():
            hint = "the packages differ from the lock: run `onnxpack lock SPEC` to renew it"
        else:
            hint = "the end of uv's output is below"
        raise kind(f"cannot {what}", hint, words[-3000:])
    return output


def _find_full_disk(words: str) -> OSError | None:
    """Return the error that uv met if a disk took no more from it, with the file that it names."""
    number = re.search(r"\(os error (\d+)\)", words)
    if number is None or int(number[1]) not in (*NO_ROOM, *NO_RIGHT):
        return None
    before, after = words[: number.start()].splitlines()[-1], words[number.end() :].splitlines()[0:1]
    named = re.findall(r"[`\"]([^`\"]+)[`\"]", "".join(after)) or re.findall(r"(?:`|to )(/[^`]*?)(?:`|: )", before)
    return OSError(int(number[1]), os.strerror(int(number[1])), named[-1] if named else None)


def _run(command: Sequence[str], note: Callable[[str], None]) -> tuple[int, str, str]:
    """Run a command and return its exit status, stdout and stderr; kill it on an interrupt."""
    # Its own empty folder, so that no project file of the user's working folder changes the answer.
    with make_temporary_folder() as folder, (folder / "stdout").open("w+") as output:
        (folder / "work").mkdir()
        words = []
        with holding(lambda: _start(command, folder / "work", output), _end) as process:
            assert process.stderr
            for line in process.stderr:
                words.append(line)
                note(line.rstrip())
            status = process.wait()
        output.seek(0)
        return status, output.read(), "".join(words).strip()


def _start(command: Sequence[str], folder: Path, output: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()), *command),
        cwd=folder,
        env=os.environ | {"COLUMNS": _COLUMNS},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # ctrl-C reaches the parent alone, which ends the whole group
    )


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stderr
    process.stderr.close()


def name_platform(platform: str) -> str:
    """Return uv's name for an image's platform, which tells the machine and the C library."""
    return f"{find_machine(platform)}-manylinux_{'_'.join(map(str, GLIBC))}"


def list_image_options(python: str, platform: str) -> tuple[str, ...]:
    """Return uv's options for an image's Python and platform."""
    return ("--python-version", python, "--python-platform", name_platform(platform), "--only-binary", ":all:")


def list_offline_options(wheels: Path) -> tuple[str, ...]:
    """Return uv's options to take wheels from a folder alone, and to ask nobody."""
    return ("--offline", "--no-index", "--find-links", str(wheels))


def write_requirements(lines: list[str], folder: Path) -> Path:
    """Write a requirements file into ``folder`` and return its path."""
    path = folder / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
