"""Pin a base image to what its registry has under its name."""

from onnxpack.bundle.lock import LockedBase
from onnxpack.oci.pull import resolve
from onnxpack.oci.reference import parse_reference


def find_base(reference: str, platform: str) -> LockedBase:
    """Ask the registry of a base image for its digest: that of the index, where it is for several platforms.

    Raises:
        EngineError: the registry cannot be reached, refuses it, or has none for the platform.
    """
    return LockedBase(reference, resolve(parse_reference(reference), platform).digest)
