"""What a job needs of a machine, in the words of Dask's resources, and which workers offer it.

A worker offers what it is started with: `dask worker … --resources "onnxpack-gpu=1 MEMORY=32e9"`.
"""

from collections.abc import Mapping, Sequence

from onnxpack.fleet.cluster import ClusterWorker
from onnxpack.fleet.job import Needs

GPU, ISA, PLATFORM, MEMORY = "onnxpack-gpu", "onnxpack-isa-", "onnxpack-platform-", "MEMORY"
_SHARE = 0.001
"""The part of a resource that is taken where any number of jobs can have it at once."""


def list_resources(needs: Needs, workers: Sequence[ClusterWorker]) -> dict[str, float]:
    """Return what a job takes of a worker's resources.

    A GPU and an instruction set that the spec names are always required. Memory, in bytes, and the platform count only
    in a cluster where a worker says what it has of them: elsewhere any worker may build for another platform.
    """
    told = {name for worker in workers for name in worker.resources}
    found: dict[str, float] = {}
    if needs.gpu:
        found[GPU] = 1.0
    if needs.isa:
        found[f"{ISA}{needs.isa}"] = _SHARE
    if needs.memory_bytes and MEMORY in told:
        found[MEMORY] = float(needs.memory_bytes)
    if needs.platform and any(name.startswith(PLATFORM) for name in told):
        found[f"{PLATFORM}{needs.platform}"] = _SHARE
    return found


def is_offered(wanted: Mapping[str, float], workers: Sequence[ClusterWorker]) -> bool:
    """Return whether one of the workers has all of some resources."""
    return any(all(worker.resources.get(name, 0.0) >= amount for name, amount in wanted.items()) for worker in workers)


def format_resources(wanted: Mapping[str, float]) -> str:
    """Return resources as `dask worker --resources` takes them, as a worker would have to offer them."""
    return " ".join(f"{name}={max(amount, 1.0):g}" for name, amount in sorted(wanted.items()))
