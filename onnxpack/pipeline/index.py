"""One name for the images of several platforms: a machine that pulls it gets the image that it can run."""

from onnxpack.spec.model import Spec
from onnxpack.targets import load_device


def list_joined(spec: Spec) -> tuple[str, ...]:
    """List the targets that one name stands for: those for CPUs, if there are several, and one for each platform.

    Two images of one platform (another precision, say) cannot be told apart by who pulls, so no name joins them.
    """
    found = {name: target.platform for name, target in spec.targets.items() if not load_device(target.device).gpu}
    several = len(found) > 1 and len(set(found.values())) == len(found)
    return tuple(found) if several else ()


def name_joined(spec: Spec) -> str | None:
    """Return the name that stands for all platforms, the repository with the version alone; None if there is none.

    Images of a spec without a version are versioned by their content, so that each has a version of its own.
    """
    if spec.version is None or not list_joined(spec):
        return None
    return f"{spec.image.repository or spec.name}:{spec.version}"
