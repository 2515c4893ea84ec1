"""Why the image of a model has a locked distribution, or leaves it out."""

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onnxpack.bundle.lock import SERVER_REQUIREMENTS, TargetLock
from onnxpack.targets import Device, Distribution, explain_distributions


def explain_packages(locked: TargetLock, device: Device, ops: frozenset[str]) -> tuple[Distribution, ...]:
    """Say of each locked distribution whether the image of a model with these operators has it, and why."""
    imported = {_name(text) for text in device.requirements}
    served = {_name(text) for texts in SERVER_REQUIREMENTS.values() for text in texts}
    asked = {}
    for name in map(_name, locked.requirements):
        asked[name] = "the server imports it" if name in served else "the spec asks for it"
        if name in imported:
            asked[name] = "the generated module imports it"
    return explain_distributions(device, locked.packages, ops, asked)


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)
