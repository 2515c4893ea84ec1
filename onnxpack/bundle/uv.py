"""Runs uv, which resolves and unpacks wheels for another Python and platform than this one."""

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from onnxpack.errors import NO_RIGHT, NO_ROOM, EngineError, OnnxpackError
from onnxpack.scratch import temporary_folder

PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""The image's platform → uv's word for it. onnxruntime's wheels want glibc 2.28."""

_NETWORK = (
    "dns error", "error sending request", "Failed to fetch", "client error", "timed out", "offline", "network was dis",
)  # fmt: skip
_NO_SOLUTION = "No solution found"


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
            hint = "the lock does not match the packages: onnxpack lock SPEC makes it anew"
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
    """Exit status, stdout and stderr of a command, which is ended if this is interrupted."""
    # Its own empty folder, so that no project file of the user's working folder changes the answer.
    with temporary_folder() as folder, (folder / "stdout").open("w+") as output:
        (folder / "work").mkdir()
        with subprocess.Popen(
            command, cwd=folder / "work", stdout=output, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            words = []
            try:
                for line in process.stderr:
                    words.append(line)
                    note(line.rstrip())
            except BaseException:
                process.kill()
                raise
        output.seek(0)
        return process.returncode, output.read(), "".join(words).strip()


def for_image(python: str, platform: str) -> tuple[str, ...]:
    """The options that name the image's Python and platform."""
    return ("--python-version", python, "--python-platform", PLATFORMS[platform], "--only-binary", ":all:")


def write_requirements(lines: list[str], folder: Path) -> Path:
    """A requirements file in ``folder``."""
    path = folder / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
