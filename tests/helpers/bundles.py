"""A bundle with a real server: an example's modules, under the packages of this environment."""

import sysconfig
from pathlib import Path

from bundle_examples import write_app

DOCKERFILE = """\
FROM base

ENV PYTHONPATH=/opt/onnxpack/app:/opt/onnxpack/lib \\
    PYTHONSAFEPATH=1 \\
    PYTHONDONTWRITEBYTECODE=1 \\
    ORT_DISABLE_TELEMETRY=1

USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "server"]
"""


def write_bundle(folder: Path, example: str = "transactions", dockerfile: str = DOCKERFILE) -> Path:
    """Write what a build leaves into a folder, and return the folder."""
    app, lib = folder / "context/rootfs/model/opt/onnxpack/app", folder / "context/rootfs/runtime/opt/onnxpack/lib"
    app.mkdir(parents=True)
    lib.parent.mkdir(parents=True)
    lib.symlink_to(sysconfig.get_path("platlib"))
    write_app(app, example)
    (folder / "context/Dockerfile").write_text(dockerfile)
    return folder


def leave_tag(folder: Path, tag: str) -> Path:
    """Let the packages of a bundle be for another Python or machine: ``tag`` is as ``cpython-313-x86_64``."""
    lib = folder / "context/rootfs/runtime/opt/onnxpack/lib"
    lib.unlink()
    (lib / "numpy/_core").mkdir(parents=True)
    (lib / f"numpy/_core/umath.{tag}-linux-gnu.so").touch()
    (lib / "numpy/_core/plain.so").touch()
    return folder
