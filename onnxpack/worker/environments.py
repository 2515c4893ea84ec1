"""Isolated Python environments for source models: exactly the spec's pins, and what the export needs besides.

uv makes it once for the same pins, additions and Python; it stands in the store, whole or not at all. onnxpack itself
is not installed there: the child finds it by its path, since its own dependencies may contradict the pins.
"""

import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import requires
from pathlib import Path
from types import MappingProxyType

from onnxpack.cache.store import Store
from onnxpack.core.digests import digest
from onnxpack.core.errors import EngineError, OnnxpackError, SpecError
from onnxpack.core.package_names import normalize_name
from onnxpack.core.progress import Progress
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.spec.intakes import list_intake_packages
from onnxpack.spec.model import Model, Spec
from onnxpack.spec.traits import frameworks
from onnxpack.worker.recorded import require_recorded
from onnxpack.worker.uv import list_offline_options, run_uv, write_requirements
from onnxpack.worker.wheels import IndexWheel, find_wheels

_STAGE = "environment"
NOTHING_LOCKED: Mapping[str, str] = MappingProxyType({})
CHILD = ("msgspec", "numpy", "onnx", "onnxruntime", "pyyaml")
"""The packages that onnxpack itself imports during an export, whatever the framework."""
CONVERTER = ("msgspec", "onnx2tf==1.29.24", "tensorflow-cpu==2.19.1", "pyyaml")
"""The requirements of `onnxpack convert`. onnx2tf asks for all of TensorFlow, whose small build is enough."""
_NEVER = ("tensorflow", "opencv-python")
"""Packages that the converter declares and does not need: 2 GB."""
_ALSO = {"tensorflow-cpu": ("tensorflow", "tensorflow-intel", "tf-nightly", "tf-nightly-cpu")}
"""Other names under which a package may be pinned."""
_TORCH_BUILDS = ("torch", "torchvision", "torchaudio")
"""The packages that PyTorch publishes in builds for CUDA and for the CPU."""
_CUDA = re.compile(r"(nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+|triton)==")
_TOLD = ("Resolved", "Downloading", "Downloaded", "Prepared", "Installed")
"""The first words of those lines of uv that are shown to a person."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BINARY = ("--only-binary", ":all:")

FillWheels = Callable[[Sequence[str], Path], None]
"""A function that puts the wheels of an environment's requirements into an empty folder, instead of an index."""


def provide_environment(
    spec: Spec,
    store: Store,
    progress: Progress,
    locked: Mapping[str, str] = NOTHING_LOCKED,
    fill: FillWheels | None = None,
) -> Path | None:
    """Return the Python of a model's isolated environment, made if it is missing; None if the spec asks for none.

    ``locked`` has the versions of all packages in it, by the spec's lock. With ``fill`` its wheels come from there, and
    no index is asked.

    Raises:
        SpecError: no set of packages fits the pins.
        EngineError: the package index cannot be reached, or a package cannot be unpacked.
    """
    if not find_pins(spec.model):
        return None
    return ensure_environment(choose_requirements(spec, locked), store, progress, fill=fill)


def make_environment_key(spec: Spec, locked: Mapping[str, str] = NOTHING_LOCKED) -> str:
    """Return the digest of a model's isolated environment for keys; empty if the spec asks for none."""
    return key_environment(choose_requirements(spec, locked)) if find_pins(spec.model) else ""


def choose_requirements(spec: Spec, locked: Mapping[str, str]) -> list[str]:
    """Return the locked versions of all that is in a model's environment; what is asked for, if they are not of it."""
    wanted = list_versions(spec)
    if all(name in locked and version in ("", locked[name]) for name, version in wanted.items()):
        return sorted(f"{name}=={version}" for name, version in locked.items())
    return list_requirements(spec)


def list_versions(spec: Spec) -> dict[str, str]:
    """Return the distributions that a model's environment is asked for, each with its version if that is pinned."""
    from packaging.requirements import Requirement

    asked = [Requirement(line) for line in list_requirements(spec)] if find_pins(spec.model) else []
    here = [one for one in asked if one.marker is None or one.marker.evaluate()]
    return {normalize_name(one.name): str(one.specifier).removeprefix("==") for one in here}


def resolve_versions(spec: Spec, known: Mapping[str, str]) -> dict[str, str]:
    """Resolve all packages of a model's isolated environment; return their versions, the ``known`` ones if they fit.

    Raises:
        SpecError: no set of packages fits the pins.
        EngineError: the package index cannot be reached.
    """
    if not find_pins(spec.model):
        return {}
    with make_temporary_folder() as scratch:
        lines, _ = _resolve(list_requirements(spec), (), scratch, known)
    pins = (line.removesuffix("\\").strip().partition("==") for line in lines if not line.startswith(" "))
    return {normalize_name(name): version for name, _, version in pins if version}


def key_environment(wanted: list[str], never: tuple[str, ...] = ()) -> str:
    """Return the digest of an environment with these requirements, for keys."""
    here = (platform.python_version(), platform.python_implementation(), platform.machine())
    return digest(_STAGE, here, wanted, never)


def ensure_environment(
    wanted: list[str],
    store: Store,
    progress: Progress,
    never: tuple[str, ...] = (),
    fill: FillWheels | None = None,
) -> Path:
    """Return the Python of an environment with these requirements, and make it if it is missing.

    Dependencies named in ``never`` are left out; ``fill`` is as for ``provide_environment``.

    Raises:
        SpecError: no set of packages fits.
        EngineError: the package index cannot be reached, or a package cannot be unpacked.
    """
    key = key_environment(wanted, never)
    store = store.without_sharing()  # it leads to this machine's Python, and is made by links to uv's cache
    with store.alone(_STAGE, key, lambda: progress.note("another build makes this environment: waiting")):
        found = store.get(_STAGE, key)
        if found is None:
            with progress.stage("isolate"), store.making(_STAGE, key) as folder:
                _make(folder, wanted, never, progress, fill)
            found = store.path(_STAGE, key)
    return found / "bin" / "python"


def ensure_converter(store: Store, progress: Progress) -> Path:
    """Return the Python for `onnxpack convert`; raise as ``ensure_environment`` does."""
    return ensure_environment(list(CONVERTER), store, progress, _NEVER)


def find_pins(model: Model) -> tuple[str, ...]:
    """Return the spec's pins, or else the framework's own; without pins there is no isolated environment."""
    return model.requirements or frameworks()[model.framework].environment


def list_requirements(spec: Spec) -> list[str]:
    """Return the requirements of a model's environment: its pins, and other packages that it needs, unpinned."""
    pins = [_pin_cpu_build(pin) for pin in find_pins(spec.model)]
    pinned = {_normalize_requirement(pin) for pin in pins}
    pinned |= {name for name, others in _ALSO.items() if pinned & set(others)}
    framework = spec.model.framework
    needed = {*CHILD, *list_extra(framework), *frameworks()[framework].needs, *list_intake_packages(spec)}
    return sorted(pins) + sorted(name for name in needed if name not in pinned)


def find_environment_wheels(wanted: list[str]) -> tuple[IndexWheel, ...]:
    """Resolve requirements as for an environment, and return where the index has the wheels.

    Raises:
        SpecError: no set of packages fits.
        EngineError: the package index cannot be reached.
    """
    with make_temporary_folder() as scratch:
        lines, source = _resolve(wanted, (), scratch)
    return find_wheels(lines, ("--python", sys.executable, *_BINARY, *source), "model.requirements")


def _make(folder: Path, wanted: list[str], never: tuple[str, ...], progress: Progress, fill: FillWheels | None) -> None:
    progress.note("resolving " + ", ".join(wanted))
    with make_temporary_folder() as scratch:
        offline: tuple[str, ...] = ()
        if fill:
            (scratch / "wheels").mkdir()
            fill(wanted, scratch / "wheels")
            offline = list_offline_options(scratch / "wheels")
        lines, source = _resolve(wanted, never, scratch, offline=offline)
        exact = write_requirements(lines, scratch)
        # Relocatable, as the store gives it its place by a rename.
        run_uv("venv", "--relocatable", "--python", sys.executable, str(folder), "--allow-existing", "--quiet",
           what="make an environment for the source model")  # fmt: skip
        run_uv(
            "pip", "install", "--python", str(folder / "bin" / "python"), "--no-deps", *_BINARY,
            "--require-hashes",
            "--requirements", str(exact), *source,
            what="install the packages of model.requirements", note=lambda line: _report_line(line.strip(), progress),
        )  # fmt: skip
    for site_packages in folder.glob("lib/python*/site-packages"):
        require_recorded(site_packages)


def _resolve(
    wanted: list[str],
    never: tuple[str, ...],
    scratch: Path,
    known: Mapping[str, str] = NOTHING_LOCKED,
    offline: tuple[str, ...] = (),
) -> tuple[list[str], tuple[str, ...]]:
    """Resolve requirements to exact versions with hashes; return them and the options of uv that found them.

    This downloads no package, so pins that do not fit, or that bring gigabytes of CUDA, cost little. A configured index
    may have PyTorch's builds for the CPU; if not, uv's own option finds them. ``offline`` are options by which no index
    is asked.
    """
    asked = write_requirements(wanted, scratch)
    overrides = scratch / "overrides.txt"
    overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in never))
    with_torch = any(_normalize_requirement(line) in _TORCH_BUILDS for line in wanted)
    chosen = scratch / "chosen.txt"
    sources = ((), ("--torch-backend", "cpu")) if with_torch and not offline else (offline,)
    for source in sources:
        last = source == sources[-1]
        # A file that is there already is how uv is told which versions to keep.
        chosen.write_text("".join(f"{name}=={version}\n" for name, version in known.items()))
        try:
            found = run_uv(
                "pip", "compile", str(asked), "--no-header", "--no-annotate", *_BINARY,
                "--generate-hashes", "--output-file", str(chosen),
                "--python", sys.executable, "--override", str(overrides), *source,
                what="find packages for model.requirements", unsolvable=SpecError,
            )  # fmt: skip
        except OnnxpackError:
            if last:
                raise
            continue
        heavy = [line for line in found.splitlines() if _CUDA.match(line)]
        if not heavy:
            return found.splitlines(), source
    raise EngineError(
        f"the packages for model.requirements bring CUDA: {', '.join(heavy[:5])}",
        "pin a CPU build, such as torch==2.13.0+cpu, and configure an index for uv that has it",
    )


def _report_line(line: str, progress: Progress) -> None:
    if line.startswith(_TOLD):
        progress.note(line)


@cache
def list_extra(framework: str) -> frozenset[str]:
    """Return the names of the packages in one of onnxpack's extras; their bounds are for this environment."""
    marker = re.compile(rf"extra\s*==\s*['\"]{re.escape(framework)}['\"]")
    return frozenset(_normalize_requirement(line) for line in requires("onnxpack") or () if marker.search(line))


def _pin_cpu_build(pin: str) -> str:
    """Pin PyTorch's build for the CPU, by its local version: the plain one brings gigabytes of CUDA on Linux."""
    return f"{pin}+cpu" if _normalize_requirement(pin) in _TORCH_BUILDS and "+" not in pin else pin


def _normalize_requirement(line: str) -> str:
    match = _NAME.match(line)
    assert match
    return normalize_name(match[0])
