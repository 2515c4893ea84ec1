"""Whether unpacked packages hold what onnxruntime's provider for a GPU links, as their ELF files say it."""

import re
from pathlib import Path

from onnxpack.bundle.packages import list_provider_libraries
from onnxpack.core.errors import SpecError

_OF_NVIDIA = re.compile(r"lib(cu|nv).*\.so.*")
"""The names of NVIDIA's libraries; the others that the provider links are the base image's."""


def list_missing_libraries(folder: Path, device: str) -> tuple[str, ...]:
    """Return the libraries of NVIDIA that the device's provider links and that no package in ``folder`` holds."""
    linked = (name for name in list_provider_libraries(folder, device) if _OF_NVIDIA.fullmatch(name))
    return tuple(name for name in linked if not any(folder.rglob(name)))


def require_linked_libraries(folder: Path, device: str) -> None:
    """Make sure that the packages in ``folder`` hold every library of NVIDIA that the device's provider links.

    Raises:
        SpecError: one is missing, as of packages for another CUDA than the provider was built for.
    """
    if missing := list_missing_libraries(folder, device):
        text = f"onnxruntime's provider for {device} links {', '.join(missing)}, which no package of the image holds"
        raise SpecError(text, "run `onnxpack lock SPEC`: onnxruntime and NVIDIA's packages must be for one CUDA")
