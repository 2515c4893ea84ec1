"""The runtime layer: locked wheels, unpacked for the image's Python, without what a session never loads."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from packaging.utils import canonicalize_name, canonicalize_version

from onnxpack.bundle.binaries import require_binaries
from onnxpack.bundle.closure import require_metadata
from onnxpack.bundle.lock import Package
from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_machine
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.worker.uv import list_image_options, run_uv, write_requirements

# A session loads none of these: 120 MB of wheels, as pip leaves them, become less than 70 MB. Nothing is stripped
# besides: `strip` breaks the OpenBLAS that numpy bundles.
_UNUSED_FOLDERS = (
    "bin",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "grpc/_cython/_credentials",  # the certificates of public authorities: a server asks nobody
    "grpc/beta",
    "grpc/experimental",
    "grpc/framework",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_pyinstaller",
    "numpy/distutils",
    "numpy/doc",
    "numpy/f2py",
    "numpy/fft",
    "numpy/polynomial",
    "numpy/random",
    "numpy/typing/tests",
    "nvidia/*/include",
    "nvidia/*/lib/pkgconfig",
    "nvidia/*/nvvm",
)
_UNUSED_ANYWHERE = ("tests", "__pycache__")
_UNUSED_FILES = (
    "numpy/_core/_simd.*.so",
    "numpy/_core/*_tests.*.so",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.h",
    "*.hpp",
    "*.c",
    "*.a",
    "*.cmake",
    "py.typed",
    "*.pc",
)
_INSTALLER_FILES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "entry_points.txt", "uv_cache.json")
"""Files of ``*.dist-info`` that hold paths or times of the installation; metadata and licences stay."""
_DRIVER = "libcuda.so.1"
"""The driver's own library, which the host of the container brings."""


def install(python: str, platform: str, packages: Sequence[Package], destination: Path) -> None:
    """Fill the empty folder ``destination`` with the packages, pruned, for an image's Python and platform.

    Nothing is taken from uv's cache: it keeps wheels unpacked, and would copy a file that was changed there. So each
    wheel is downloaded again and its hash is checked; the store keeps the result.

    Raises:
        EngineError: a wheel cannot be downloaded, has another hash than the lock, was not unpacked into the folder, or
            is for another machine.
        SpecError: the lock says something else than a wheel about what it requires.
    """
    destination = destination.absolute()  # uv runs in a folder of its own
    with make_temporary_folder() as folder:
        run_uv(
            "pip",
            "install",
            "--target",
            str(destination),
            "--requirement",
            str(write_requirements([package.requirement() for package in packages], folder)),
            "--require-hashes",
            "--no-deps",
            "--no-cache",
            "--link-mode",
            "copy",
            *list_image_options(python, platform),
            what=f"install the image's Python packages ({_some(packages)})",
        )
    require_metadata(destination, packages, python, find_machine(platform))
    _require_versions(packages, destination)
    require_binaries(destination, platform, python)
    prune(destination)


def _require_versions(packages: Sequence[Package], folder: Path) -> None:
    """Make sure that the metadata of every locked package tells its version: uv's success proves nothing."""
    there = [one for one in distributions(path=[str(folder)]) if one.metadata["Name"]]
    found = {(canonicalize_name(one.name), canonicalize_version(one.version)) for one in there}
    missing = [
        f"{one.name}=={one.version}"
        for one in packages
        if (canonicalize_name(one.name), canonicalize_version(one.version)) not in found
    ]
    if missing:
        raise EngineError(f"uv did not install the locked version of: {', '.join(missing)}", "run the build again")


def prune(folder: Path) -> None:
    """Remove what neither the generated module nor the server imports; licences stay."""
    for pattern in _UNUSED_FOLDERS:
        for path in folder.glob(pattern):
            shutil.rmtree(path)
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside a folder comes before the folder
        if any(parent.suffix == ".dist-info" for parent in path.relative_to(folder).parents):
            unused = path.name in _INSTALLER_FILES and path.parent.suffix == ".dist-info"
        else:
            unused = path.name in _UNUSED_ANYWHERE if path.is_dir() else _is_unused(path)
        if unused:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Asked of the files, not of the wheel's version: another version may link the library.
    for library in _find_unlinked_libraries(folder):
        library.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _is_unused(path: Path) -> bool:
    return path.name == ".lock" or any(path.match(pattern) for pattern in _UNUSED_FILES)


def _find_unlinked_libraries(folder: Path) -> Iterator[Path]:
    """Find the copies of onnxruntime's C library that no other library in the folder links.

    The wheel holds the engine twice: the Python extension has it built in.
    """
    libraries = [path for path in folder.rglob("*.so*") if path.is_file()]
    linked = {name for path in libraries for name in read_needed_libraries(path)}
    for path in folder.glob("onnxruntime/capi/libonnxruntime.so*"):
        if path.name not in linked:
            yield path


def read_needed_libraries(path: Path) -> list[str]:
    """Return the ``DT_NEEDED`` entries of a shared library; none for a file that is not ELF."""
    try:
        with path.open("rb") as stream:
            section: Any = ELFFile(stream).get_section_by_name(".dynamic")
            return [tag.needed for tag in section.iter_tags("DT_NEEDED")] if section else []
    except ELFError:
        return []


def list_provider_libraries(folder: Path, device: str) -> tuple[str, ...]:
    """Return the libraries that the device's execution provider links, except the driver, which the host brings."""
    found = {
        name
        for provider in folder.rglob(f"libonnxruntime_providers_{device}.so")
        for name in read_needed_libraries(provider)
        if name != _DRIVER
    }
    return tuple(sorted(found))


def _some(packages: Iterable[Package]) -> str:
    names = [package.name for package in packages]
    if not names:
        raise EngineError("the lock holds no packages", "run `onnxpack lock SPEC`")
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
