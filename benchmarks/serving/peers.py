"""The servers that are compared, and an environment of its own for each."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.workloads import BINARY, JSON, Bundle

SERVERS = Path(__file__).parent / "servers"
OURS = "onnxpack"
GRANIAN, MLSERVER, BENTOML, FASTAPI = "granian, bare RSGI", "MLServer", "BentoML", "FastAPI by hand"
V2 = "/v2/models/{name}/infer"


@dataclass(frozen=True)
class Peer:
    """A server: the file that starts it, with its requirements beside, and where it answers which form."""

    title: str
    file: str = ""
    """Empty for the server of the bundle itself."""
    paths: dict[str, str] = field(default_factory=lambda: {JSON: V2, BINARY: V2})


PEERS = (
    Peer(OURS),
    Peer("asyncio.Protocol, bare", "protocol"),
    Peer("uvicorn, bare ASGI", "asgi"),
    Peer(GRANIAN, "rsgi"),
    Peer(FASTAPI, "fastapi_app", {JSON: "/infer", BINARY: "/binary"}),
    Peer(MLSERVER, "mlserver_app", {JSON: V2}),
    Peer(BENTOML, "bentoml_app", {JSON: "/infer"}),
    Peer("LitServe", "litserve_app", {JSON: "/infer"}),
    Peer("KServe", "kserve_app"),
)


class InstallError(Exception):
    """A peer's packages cannot be had."""


def default_folder() -> Path:
    """Return the folder that keeps environments from run to run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "onnxpack-benchmarks" / "serving"


def prepare_environment(peer: Peer, bundle: Bundle, folder: Path) -> Path:
    """Return the Python of a peer's environment, made by uv unless it is there.

    onnxruntime and numpy are those of the bundle: the servers are all that differs.

    Raises:
        InstallError: uv cannot make it; its last lines are the message.
    """
    same = [find_pin(bundle, name) for name in ("onnxruntime", "numpy")]
    pins = (SERVERS / f"{peer.file}.txt").read_text().split() + same
    key = hashlib.sha256("\n".join([sys.version, *pins]).encode()).hexdigest()[:12]
    home = folder / f"{peer.file}-{key}"
    python = home / "bin/python"
    if (home / "complete").exists():
        return python
    uv = [sys.executable, "-m", "uv"]
    commands = [
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), *pins],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise InstallError(" ".join(done.stderr.split()[-60:]))
    (home / "complete").touch()
    return python


def find_pin(bundle: Bundle, name: str) -> str:
    """Return the requirement for a package in exactly the bundle's version."""
    folder = next(bundle.packages.glob(f"{name}-*.dist-info"))
    return f"{name}=={folder.name.removesuffix('.dist-info').partition('-')[2]}"


def make_command(peer: Peer, bundle: Bundle, python: Path, port: int) -> tuple[list[str], dict[str, str], Path]:
    """Return the command that starts a server, its variables and its folder."""
    if not peer.file:
        # -S: no packages but the bundle's, as in the image.
        command = [sys.executable, "-S", "-B", "-m", "server", "--host", "127.0.0.1", "--port", str(port)]
        return command, bundle.environment, bundle.app
    variables = {"OPENBLAS_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), str(SERVERS / f"{peer.file}.py"), str(bundle.model), bundle.name, str(port)]
    return command, os.environ | variables | {"PYTHONPATH": str(SERVERS)}, SERVERS
