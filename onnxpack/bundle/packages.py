"""The runtime layer: locked wheels, unpacked for the image's Python, without what no image needs."""

from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name, canonicalize_version

from onnxpack.bundle.binaries import require_binaries
from onnxpack.bundle.closure import require_metadata
from onnxpack.bundle.layer import LayerFile, Needs
from onnxpack.bundle.libraries import read_needed_libraries
from onnxpack.bundle.lock import Package
from onnxpack.bundle.prune import prune
from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_machine
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.worker.uv import list_image_options, list_offline_options, run_uv, write_requirements

_DRIVER = "libcuda.so.1"
"""The driver's own library, which the host of the container brings."""


def install(
    python: str,
    platform: str,
    packages: Sequence[Package],
    needs: Needs,
    destination: Path,
    wheels: Path | None = None,
) -> tuple[LayerFile, ...]:
    """Fill the empty folder ``destination`` with the packages, pruned, for an image's Python and platform.

    Return the files of all wheels, kept or left out, each with the reason. They come from the folder ``wheels``, if it
    is given, and no index is asked.

    Nothing is taken from uv's cache: it keeps wheels unpacked, and would copy a file that was changed there. So each
    wheel is downloaded again and its hash is checked; the store keeps the result.

    Raises:
        EngineError: a wheel cannot be downloaded, has another hash than the lock, was not unpacked into the folder, or
            is for another machine; or it cannot be told what one of its modules imports.
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
            *(list_offline_options(wheels) if wheels else ()),
            what=f"install the image's Python packages ({_some(packages)})",
        )
    require_metadata(destination, packages, python, find_machine(platform))
    _require_versions(packages, destination)
    require_binaries(destination, platform, python)
    return prune(destination, needs)


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
