"""Check what the machine must have: a GPU, an engine whose containers see it, and onnxruntime-gpu."""

import subprocess
from pathlib import Path

from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.image import DOCKER, load_engine
from onnxpack.targets import load_device

ROOT = Path(__file__).resolve().parents[2]
_ASKED = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
_HINT = "run it on a machine with an NVIDIA GPU and its driver"


def find_gpus() -> list[str]:
    """Return the machine's GPUs, each with its name and the driver's version.

    Raises:
        EngineError: there is none.
    """
    try:
        done = subprocess.run(_ASKED, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        raise EngineError("this machine has no GPU: nvidia-smi does not answer", _HINT) from None
    found = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not found:
        raise EngineError(f"this machine has no GPU: nvidia-smi ends with {done.returncode}", _HINT)
    return found


def require_gpu_engine() -> None:
    """Make sure that Docker answers, and that its containers can have a GPU.

    Raises:
        EngineError: they cannot.
    """
    hint = "install NVIDIA's container toolkit, or leave the images out with --only precision"
    try:
        seen = load_engine(DOCKER).has_gpu()
    except OnnxpackError as error:
        raise EngineError(f"images cannot run here: {error.problems[0].message}", hint) from None
    if not seen:
        raise EngineError("images cannot run here: Docker has no runtime for NVIDIA's GPUs", hint)


def make_environment(folder: Path) -> str:
    """Make an environment with what the device's images import, and return its Python."""
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), "venv", "--quiet", folder], check=True)
    python = str(folder / "bin/python")
    packages = load_device("cuda").requirements
    subprocess.run([find_uv_bin(), "pip", "install", "--quiet", "--python", python, *packages], check=True)
    return python
