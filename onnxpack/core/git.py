"""Asks Git about the work tree around a folder."""

import subprocess
from pathlib import Path

from onnxpack.core.errors import EngineError

_SECONDS = 60


def run_git(*arguments: str, folder: Path | None = None) -> tuple[int, bytes, str]:
    """Run Git in a folder, or here; return its exit status, what it wrote, and what it said.

    Raises:
        EngineError: there is no Git, or it does not answer.
    """
    command = ["git", "--literal-pathspecs", *arguments]
    try:
        ended = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise EngineError("a revision is read by Git, which is not installed", "install git") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"Git did not answer within {_SECONDS} s", "look for what holds it: `git status`") from None
    return ended.returncode, ended.stdout, ended.stderr.decode(errors="replace")
