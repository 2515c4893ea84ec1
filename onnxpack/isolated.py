"""An environment of its own for a source model: exactly the spec's pins, and what the export needs besides.

uv makes it once for the same pins, additions and Python; it stands in the store, whole or not at all. onnxpack itself
is not installed there: the child finds it by its path, since its own dependencies may contradict the pins.
"""

import platform
import re
import sys
from importlib.metadata import requires
from pathlib import Path

from onnxpack.bundle.recorded import require_recorded
from onnxpack.bundle.uv import uv, write_requirements
from onnxpack.errors import EngineError, OnnxpackError, SpecError
from onnxpack.package_names import normalize_name
from onnxpack.progress import Progress
from onnxpack.scratch import temporary_folder
from onnxpack.spec.model import Model
from onnxpack.store import Store, digest

_STAGE = "environment"
_CHILD = ("msgspec", "numpy", "onnx", "onnxruntime", "pyyaml")
"""What onnxpack's own half of an export imports, whatever the framework."""
CONVERTER = ("msgspec", "onnx2tf==1.29.24", "tensorflow-cpu==2.19.1", "pyyaml")
"""What `onnxpack convert` needs. onnx2tf asks for all of TensorFlow, whose small build is enough."""
_NEVER = ("tensorflow", "opencv-python")
"""What the converter declares and does not need: 2 GB."""
_DEFAULT: dict[str, tuple[str, ...]] = {
    "keras": (
        # TensorFlow's own small build exists for x86-64 alone.
        "tensorflow-cpu==2.21.0; platform_machine == 'x86_64'",
        "tensorflow==2.21.0; platform_machine != 'x86_64'",
        "keras==3.15.1",
        "tf2onnx==1.17.0",
    ),
}
"""The pins of frameworks that always have an environment of their own, where the spec has none."""
_BESIDES: dict[str, tuple[str, ...]] = {"keras": ("tensorflow-cpu", "tf2onnx")}
"""What such a framework needs besides a spec's pins."""
_ALSO = {"tensorflow-cpu": ("tensorflow", "tensorflow-intel", "tf-nightly", "tf-nightly-cpu")}
"""Under which other names a package may be pinned."""
_TORCH_BUILDS = ("torch", "torchvision", "torchaudio")
"""What PyTorch publishes in builds for CUDA and for the CPU."""
_CUDA = re.compile(r"(nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+|triton)==")
_TOLD = ("Resolved", "Downloading", "Downloaded", "Prepared", "Installed")
"""How the lines of uv begin that are worth a person's time."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def environment(model: Model, store: Store, progress: Progress) -> Path | None:
    """The Python of the model's own environment, made now if it does not stand yet; None if it asks for none.

    Raises:
        SpecError: no set of packages fits the pins.
        EngineError: the package index cannot be reached, or a package cannot be unpacked.
    """
    return standing(wanted_by(model), store, progress) if pins_of(model) else None


def environment_key(model: Model) -> str:
    """Return what stands for the model's own environment in a key; empty if it asks for none."""
    return _key(wanted_by(model), ()) if pins_of(model) else ""


def _key(wanted: list[str], never: tuple[str, ...]) -> str:
    here = (platform.python_version(), platform.python_implementation(), platform.machine())
    return digest(_STAGE, here, wanted, never)


def standing(wanted: list[str], store: Store, progress: Progress, never: tuple[str, ...] = ()) -> Path:
    """The Python of an environment with these requirements, and all that they need but for what is ``never`` wanted.

    Raises:
        SpecError: no set of packages fits.
        EngineError: the package index cannot be reached, or a package cannot be unpacked.
    """
    key = _key(wanted, never)
    with store.alone(_STAGE, key, lambda: progress.note("another build makes this environment: waiting")):
        found = store.get(_STAGE, key)
        if found is None:
            with progress.stage("isolate"), store.making(_STAGE, key) as folder:
                _make(folder, wanted, never, progress)
            found = store.path(_STAGE, key)
    return found / "bin" / "python"


def converter(store: Store, progress: Progress) -> Path:
    """The Python that `onnxpack convert` converts and checks in; raises as ``standing`` does."""
    return standing(list(CONVERTER), store, progress, _NEVER)


def pins_of(model: Model) -> tuple[str, ...]:
    """The spec's pins, else those of a framework that has some by default; none: no environment of its own."""
    return model.requirements or _DEFAULT.get(model.framework, ())


def wanted_by(model: Model) -> list[str]:
    """The requirements of a model's environment: its pins, and unpinned what they do not name."""
    pins = [_for_cpu(pin) for pin in pins_of(model)]
    pinned = {_normal(pin) for pin in pins}
    pinned |= {name for name, others in _ALSO.items() if pinned & set(others)}
    needed = {*_CHILD, *_extra(model.framework), *_BESIDES.get(model.framework, ())}
    return sorted(pins) + sorted(name for name in needed if name not in pinned)


def _make(folder: Path, wanted: list[str], never: tuple[str, ...], progress: Progress) -> None:
    progress.note("resolving " + ", ".join(wanted))
    with temporary_folder() as scratch:
        lines, backend = _resolved(wanted, never, scratch)
        exact = write_requirements(lines, scratch)
        # Relocatable, as the store gives it its place by a rename.
        uv("venv", "--relocatable", "--python", sys.executable, str(folder), "--allow-existing", "--quiet",
           what="make an environment for the source model")  # fmt: skip
        uv(
            "pip", "install", "--python", str(folder / "bin" / "python"), "--no-deps", "--only-binary", ":all:",
            "--require-hashes",
            "--requirements", str(exact), *backend,
            what="install the packages of model.requirements", note=lambda line: _tell(line.strip(), progress),
        )  # fmt: skip
    for site_packages in folder.glob("lib/python*/site-packages"):
        require_recorded(site_packages)


def _resolved(wanted: list[str], never: tuple[str, ...], scratch: Path) -> tuple[list[str], tuple[str, ...]]:
    """Exact versions of all packages with their hashes, and the options that they were found with.

    Nothing is downloaded for pins that do not fit, or that bring CUDA's gigabytes. A configured index may have
    PyTorch's builds for the CPU; where it has not, uv knows where they are published.
    """
    asked = write_requirements(wanted, scratch)
    overrides = scratch / "overrides.txt"
    overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in never))
    with_torch = any(_normal(line) in _TORCH_BUILDS for line in wanted)
    for backend in ((), ("--torch-backend", "cpu")) if with_torch else ((),):
        last = bool(backend) == with_torch
        try:
            found = uv(
                "pip", "compile", str(asked), "--no-header", "--no-annotate", "--only-binary", ":all:",
                "--generate-hashes",
                "--python", sys.executable, "--override", str(overrides), *backend,
                what="find packages for model.requirements", unsolvable=SpecError,
            )  # fmt: skip
        except OnnxpackError:
            if last:
                raise
            continue
        heavy = [line for line in found.splitlines() if _CUDA.match(line)]
        if not heavy:
            return found.splitlines(), backend
    raise EngineError(
        f"the packages for model.requirements bring CUDA: {', '.join(heavy[:5])}",
        "pin a CPU build, as torch==2.13.0+cpu, and give uv an index that has it",
    )


def _tell(line: str, progress: Progress) -> None:
    if line.startswith(_TOLD):
        progress.note(line)


def _extra(framework: str) -> set[str]:
    """The names of the packages in onnxpack's own extra for a framework; their bounds are for this environment."""
    marker = re.compile(rf"extra\s*==\s*['\"]{re.escape(framework)}['\"]")
    return {_normal(line) for line in requires("onnxpack") or () if marker.search(line)}


def _for_cpu(pin: str) -> str:
    """PyTorch's builds for the CPU have a local version; the plain one brings gigabytes of CUDA packages on Linux."""
    return f"{pin}+cpu" if _normal(pin) in _TORCH_BUILDS and "+" not in pin else pin


def _normal(line: str) -> str:
    match = _NAME.match(line)
    assert match
    return normalize_name(match[0])
