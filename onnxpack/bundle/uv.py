"""Runs uv, which resolves and unpacks wheels for another Python and platform than this one."""

import subprocess
import tempfile
from pathlib import Path

from onnxpack.errors import EngineError

PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""The image's platform → uv's word for it. onnxruntime's wheels want glibc 2.28."""

_NETWORK = ("dns error", "error sending request", "Failed to fetch", "client error", "timed out", "offline")


def uv(*arguments: str, what: str) -> str:
    """Uv's output.

    Raises:
        EngineError: it failed; ``what`` says what it was to do.
    """
    from uv import find_uv_bin

    with tempfile.TemporaryDirectory(prefix="onnxpack-uv-") as folder:
        # Its own empty folder, so that no project file of the user's working folder changes the answer.
        result = subprocess.run([find_uv_bin(), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        words = result.stderr.strip()
        if any(sign in words for sign in _NETWORK):
            hint = "check the network and the package index; a build that is locked and cached needs neither"
        elif "hash" in words.lower():
            hint = "the lock does not match the packages: onnxpack lock SPEC makes it anew"
        else:
            hint = "the end of uv's output is below"
        raise EngineError(f"cannot {what}", hint, words[-3000:])
    return result.stdout


def for_image(python: str, platform: str) -> tuple[str, ...]:
    """The options that name the image's Python and platform."""
    return ("--python-version", python, "--python-platform", PLATFORMS[platform], "--only-binary", ":all:")


def write_requirements(lines: list[str], folder: Path) -> Path:
    """A requirements file in ``folder``."""
    path = folder / "requirements.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
