"""Environments of packages that would not fit beside this project's own."""

import fcntl
import hashlib
import os
import sys
from pathlib import Path

from onnxpack.worker.uv import run_uv

_EXACTLY = ("--no-deps", "--require-hashes", "--only-binary", ":all:")


def make_environment(lock: Path) -> Path:
    """Return the folder of an environment's programs; it has exactly what is locked, and is kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxpack-tests"
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache / f"{lock.parent.name}-{lock.stem}-{key}"
    whole = folder / "whole"
    with (cache / f"{folder.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # several processes of tests make it once
        if not whole.exists():
            run_uv(
                "venv", "--python", sys.executable, "--clear", str(folder), what=f"make an environment for {lock.stem}"
            )
            python = str(folder / "bin" / "python")
            run_uv(
                "pip",
                "install",
                "--python",
                python,
                *_EXACTLY,
                "--requirements",
                str(lock),
                what=f"install {lock.stem}",
            )
            whole.touch()
    return folder / "bin"
