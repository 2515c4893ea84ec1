"""Runs uv, which resolves and unpacks wheels for another Python and platform than this one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from onnxpack.errors import EngineError, OnnxpackError
from onnxpack.interrupts import holding
from onnxpack.scratch import temporary_folder

PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""The image's platform → uv's word for it. onnxruntime's wheels want glibc 2.28."""

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


def uv(
    *arguments: str,
    what: str,
    note: Callable[[str], None] = lambda line: None,
    unsolvable: type[OnnxpackError] = EngineError,
) -> str:
    """Uv's output; what it tells meanwhile goes to ``note``, line by line.

    Raises:
        EngineError: it failed; ``what`` says what it was to do.
        OnnxpackError: of the kind ``unsolvable``: no set of packages answers the requirements.
    """
    from uv import find_uv_bin

    status, output, words = _run((find_uv_bin(), *arguments), note)
    if status:
        kind: type[OnnxpackError] = EngineError
        if any(sign in words for sign in _NETWORK):
            hint = "check the network and the package index; a build that is locked and cached needs neither"
        elif _NO_SOLUTION in words:
            kind, hint = unsolvable, "uv's reason is below"
        elif "hash" in words.lower():
            hint = "the lock does not match the packages: onnxpack lock SPEC makes it anew"
        else:
            hint = "the end of uv's output is below"
        raise kind(f"cannot {what}", hint, words[-3000:])
    return output


def _run(command: Sequence[str], note: Callable[[str], None]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, which is ended if this is interrupted."""
    # Its own empty folder, so that no project file of the user's working folder changes the answer.
    with temporary_folder() as folder, (folder / "stdout").open("w+") as output:
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


def for_image(python: str, platform: str) -> tuple[str, ...]:
    """The options that name the image's Python and platform."""
    return ("--python-version", python, "--python-platform", PLATFORMS[platform], "--only-binary", ":all:")


def write_requirements(lines: list[str], folder: Path) -> Path:
    """A requirements file in ``folder``."""
    path = folder / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
