"""Whether locked packages are of one CUDA, and the driver that it needs.

NVIDIA names a package by its CUDA (``nvidia-cudnn-cu13``) or gives it CUDA's version (``nvidia-cuda-runtime``, 13.5).
The CUDA that onnxruntime-gpu was built for follows from what it requires: ``nvidia-cudnn-cu13`` by its extra ``cudnn``.
"""

import re
from collections.abc import Iterator, Sequence

from onnxpack.core.errors import SpecError
from onnxpack.targets import Locked, Versions, label_runtime

CUDA_LABEL = "dev.onnxpack.cuda"
DRIVER_LABEL = "dev.onnxpack.driver"
LEAST_DRIVERS = {12: "525", 13: "580"}
"""By the major version of CUDA, the oldest driver that runs all of it: NVIDIA, "CUDA Compatibility", section "Minor
Version Compatibility", table 1."""
_NAMED = re.compile(r"nvidia-.+-cu(?P<major>\d+)")
_NUMBERED = re.compile(r"nvidia-(cublas|cuda-nvrtc|cuda-runtime|nvjitlink)")
"""Packages with the version of CUDA; cuRAND and cuFFT have versions of their own."""
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")
_HINT = "run `onnxpack lock SPEC`"


def read_versions(packages: Sequence[Locked]) -> Versions:
    """Return the labels of onnxruntime, CUDA and its least driver, and the condition that the container toolkit checks.

    Raises:
        SpecError: the packages are of several CUDAs, or have no CUDA runtime.
    """
    runtime = next((package for package in packages if _RUNTIME.fullmatch(package.name)), None)
    if runtime is None:
        raise SpecError("the lock holds no CUDA runtime", _HINT)
    major = _require_one_major(packages)
    labels = {**label_runtime(packages), CUDA_LABEL: runtime.version}
    if least := LEAST_DRIVERS.get(major):
        labels[DRIVER_LABEL] = f">={least}"
    # Any driver of a major version runs programs of its later minor versions.
    return Versions(labels, {"NVIDIA_REQUIRE_CUDA": f"cuda>={major}.0"})


def _require_one_major(packages: Sequence[Locked]) -> int:
    """Return the major version of CUDA that all packages have.

    Raises:
        SpecError: they have several.
    """
    found: dict[int, str] = {}
    for package in packages:
        for major, words in _list_majors(package):
            found.setdefault(major, words)
    if len(found) > 1:
        words = ", ".join(f"CUDA {major} ({found[major]})" for major in sorted(found))
        raise SpecError(f"the lock mixes versions of CUDA: {words}", _HINT)
    return next(iter(found))


def _list_majors(package: Locked) -> Iterator[tuple[int, str]]:
    """Yield the major versions of CUDA that a package tells, each with the words that name it."""
    if named := _NAMED.fullmatch(package.name):
        yield int(named["major"]), package.name
    elif _NUMBERED.fullmatch(package.name):
        yield int(package.version.partition(".")[0]), f"{package.name} {package.version}"
    elif package.name.startswith("onnxruntime"):
        for other in package.requires:
            if named := _NAMED.fullmatch(other):
                yield int(named["major"]), f"{package.name} {package.version}, which requires {other}"
