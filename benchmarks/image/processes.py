"""Run commands, and tell how they failed."""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class RunError(Exception):
    """A command failed; the end of what it said is the message."""


def run(command: Sequence[str], variables: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command, and return what it printed.

    Raises:
        RunError: it failed, or took more than ten minutes.
    """
    try:
        done = subprocess.run(
            command, env=variables, cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} took more than ten minutes") from None
    if done.returncode:
        raise RunError(find_reason(done.stderr or done.stdout))
    return done.stdout


def find_reason(text: str) -> str:
    """Return what a command that failed said last: its error or its last words, without folders."""
    errors = [line for line in text.splitlines() if line.lower().startswith("error")]
    reason = errors[-1] if errors else " ".join(text.split()[-40:])
    return reason.replace(str(Path.cwd()), ".").replace(tempfile.gettempdir(), "…") or "it said nothing"


def time_run(command: Sequence[str], variables: Mapping[str, str] | None = None, folder: Path | None = None) -> float:
    """Return the seconds that a command takes, the start of its process included.

    Raises:
        RunError: it failed.
    """
    started = time.perf_counter()
    run(command, variables, folder)
    return time.perf_counter() - started
