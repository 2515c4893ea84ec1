"""What a user adds to an image's packages by ``image.requirements``, and what that brings with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from onnxpack.core.errors import SpecError
from onnxpack.core.package_names import normalize_name
from onnxpack.spec.model import Spec
from onnxpack.targets import Distribution, Locked, load_device

ADDED = "image.requirements"
"""The field of a spec by which a user adds packages."""
_NAME = re.compile(r"[^A-Za-z0-9._-]")
"""What ends the name in a requirement."""
_DOWNLOADERS = frozenset({"huggingface-hub"})
"""tokenizers fetches tokenizers by it; an image has the file."""
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def find_whole(spec: Spec, packages: Iterable[Locked]) -> dict[str, str]:
    """Return the distributions that an image has whole, each with what asks for it: another one, or the spec's field.

    These are what the user adds, and all that it requires, also what is not among ``packages``.
    """
    requires = {package.name: package.requires for package in packages}
    found: dict[str, str] = {}
    waiting = [(normalize_name(_NAME.split(line, maxsplit=1)[0]), ADDED) for line in spec.image.requirements]
    while waiting:
        name, by = waiting.pop(0)
        if name not in found:
            found[name] = by
            waiting += [(other, name) for other in requires.get(name, ())]
    return found


def find_unused(spec: Spec, target: str, packages: Iterable[Locked]) -> frozenset[str]:
    """Return the distributions that the target's image leaves out although a wheel requires them."""
    return (load_device(spec.targets[target].device).unused | _DOWNLOADERS) - find_whole(spec, packages).keys()


def list_needed(requirements: Iterable[str], packages: Iterable[Locked], unused: frozenset[str]) -> frozenset[str]:
    """Return the names of the packages that requirements lead to, but for those that ``unused`` ones alone require."""
    requires = {package.name: package.requires for package in packages}
    found: set[str] = set()
    waiting = [normalize_name(_NAME.split(line, maxsplit=1)[0]) for line in requirements]
    while waiting:
        name = waiting.pop()
        if name in requires and name not in found | unused:
            found.add(name)
            waiting += requires[name]
    return frozenset(found)


def keep_added(distributions: Iterable[Distribution], whole: Mapping[str, str]) -> tuple[Distribution, ...]:
    """Keep those distributions too that the model does not need, and that something which stays ``whole`` asks for."""
    return tuple(
        one if one.kept or one.name not in whole else replace(one, kept=True, reason=f"required by {whole[one.name]}")
        for one in distributions
    )


def check_runtime(packages: Iterable[Locked]) -> None:
    """Check that no requirement brings a second onnxruntime: both fill one folder.

    Raises:
        SpecError: one does.
    """
    known = {package.name: package for package in packages}
    if all(name in known for name in _RUNTIMES):
        users = sorted(name for name, package in known.items() if _RUNTIMES[0] in package.requires)
        text = f"{' and '.join(users) or ADDED} requires onnxruntime, which fills the folder of onnxruntime-gpu"
        raise SpecError(text, f"remove it from {ADDED}, or use a target for the CPU")
