"""Builds the library that stands in for OpenBLAS: one file for each platform, the same bytes wherever it is built.

Layers of images have to be the same on every machine, so the digests of the libraries are part of the source. A build
that gives other bytes is refused, and one that stands with the right bytes is left alone.

Only the standard library is imported here: the build hook of the wheel runs this file before anything is installed.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DIGESTS = FOLDER / "SHA256SUMS"
PLATFORMS = {"linux/amd64": "x86_64-linux-none", "linux/arm64": "aarch64-linux-none"}
"""The target of the compiler for each platform of images; both mean the oldest CPUs of their kind."""
_OPTIONS = (
    "-std=c11", "-O3", "-shared", "-s", "-g0",
    # No other library: neither the C library nor one of the compiler's, nor what it would call in one by itself.
    "-nostdlib", "-ffreestanding", "-fno-sanitize=all", "-fno-stack-protector", "-fno-math-errno",
    # Results do not depend on whether a CPU multiplies and adds in one operation.
    "-ffp-contract=off",
    # What the program then does not use may not be computed: it would raise the CPU's flags of invalid operations and
    # overflows, from which numpy makes warnings.
    "-ffp-exception-behavior=maytrap",
    # Complex products as BLAS has them, without a second try for infinities; divisions without overflow in between.
    "-fcomplex-arithmetic=improved",
    "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
)  # fmt: skip


def locate_library(platform: str) -> Path:
    """Return the path of the library for a platform, such as ``linux/amd64``; it need not have been built."""
    return FOLDER / f"{platform.replace('/', '-')}.so"


def read_digests() -> dict[str, str]:
    """Return the SHA-256 that each library must have, by the name of its file."""
    lines = DIGESTS.read_text("ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def compile_library(platform: str, destination: Path, sources: Path) -> None:
    """Compile the sources in a folder for a platform into the file ``destination``, by the package ``ziglang``.

    Raises:
        RuntimeError: the compiler is missing, or failed.
    """
    command = [sys.executable, "-m", "ziglang", "cc", "-target", PLATFORMS[platform], *_OPTIONS, "blas.c", "-o"]
    with tempfile.TemporaryDirectory() as cache:
        caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        done = subprocess.run(
            [*command, str(destination.resolve())],
            cwd=sources,
            env=os.environ | caches,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the library for {platform} was not compiled: {done.stderr.strip()}")


def find_stale() -> list[str]:
    """Return the platforms whose library is missing, or has another digest than it must have."""
    digests = read_digests()
    return [name for name in PLATFORMS if _digest(locate_library(name)) != digests.get(locate_library(name).name)]


def build_libraries(accept: bool = False) -> list[str]:
    """Build the libraries that are stale, and return their platforms.

    ``accept`` builds all of them and writes their digests down, as a change of the sources needs.

    Raises:
        RuntimeError: one cannot be compiled, or has another digest than it must have.
    """
    made = list(PLATFORMS) if accept else find_stale()
    digests = read_digests() if DIGESTS.exists() else {}
    for platform in made:
        path = locate_library(platform)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=FOLDER) as folder:
            fresh = Path(folder) / path.name
            compile_library(platform, fresh, FOLDER)
            found = _digest(fresh)
            if accept:
                digests[path.name] = found
            elif found != digests.get(path.name):
                message = f"{path.name} has the digest {found}, and {DIGESTS.name} says {digests.get(path.name)}"
                raise RuntimeError(f"{message}: build it by the version of ziglang that pyproject.toml names")
            fresh.chmod(0o644)
            fresh.replace(path)
    if accept:
        DIGESTS.write_text("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)), "ascii")
    return made


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
