"""The stage ``base``, the first of a build that makes an image: it fetches the base, and checks that it will do."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from onnxpack.bundle.lock import LockedBase, lock_path, read
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.platforms import find_machine
from onnxpack.image.base import inspect_base
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Image
from onnxpack.oci.layout import INDEX_FILE
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.delivery import PythonVersion
from onnxpack.vendor.bundle import take_base
from onnxpack.worker.uv import GLIBC


def check_base(run: Build, product: Product) -> Product:
    """Return the product with the base image, and what it offers, which is asked once for the same base.

    Raises:
        SpecError: an image on this base could not work.
        EngineError: no registry gives it, or the engine did not do its part.
    """
    base = _fetch_base(run)
    place = run.plan.file.where("image", "base")

    def inspect() -> BaseSystem:
        try:
            return inspect_base(run.engine, base)
        except SpecError as error:
            raise error.at(place) from None

    system = run.runner.keep("base", base.id, BaseSystem, "onnxpack.image.base_probe", inspect)
    if problems := list(find_problems(run.plan, system)):
        raise SpecError(problems)
    return replace(product, base=base, system=system)


def _fetch_base(run: Build) -> Image:
    """Return the base image: from the archive or bundle that was named, from the engine, or from its registry."""
    reference, platform = run.plan.base, run.plan.spec_target.platform
    pin = find_pin(run.plan)
    name = pin.pinned if pin else reference
    given = run.base or run.vendor
    if given is None:
        return run.engine.require_base(name, platform, run.progress)
    place = given / INDEX_FILE if given.is_dir() else given  # a layout's index says all that is in it
    run.runner.read.note_state(place)
    if run.base:
        base = run.engine.add_base(run.base, reference, platform)
    else:
        base = take_base(given, run.engine, name, platform)
    run.runner.read.note_state(place)
    return base


def find_pin(plan: Plan) -> LockedBase | None:
    """Return the base image as the lock pins it; None without a lock, or where it is of another base.

    Such a lock is refused by the stage ``bundle``, with all else that does not fit.
    """
    path = lock_path(plan.file.path)
    locked = read(path).get(plan.target) if path.exists() else None
    return locked.base if locked and locked.base and locked.base.reference == plan.base else None


def find_problems(plan: Plan, system: BaseSystem) -> Iterator[Problem]:
    """Find all that keeps a base from running the packages that a target is locked for."""
    place, platform, wanted = plan.file.where("image", "base"), plan.spec_target.platform, plan.file.spec.image.python
    name = plan.base
    if system.machine != find_machine(platform):
        hint = "set another `image.base`, or the target's `platform`"
        yield Problem(
            f"the base image {name} is for {system.machine or 'an unknown machine'}, the target for {platform}",
            hint,
            place,
        )
    if system.implementation != "CPython" or system.free_threaded:
        kind = "a Python without the global lock" if system.free_threaded else system.implementation
        yield Problem(
            f"the base image {name} has {kind}", "set `image.base` to an image with the ordinary CPython", place
        )
    elif system.python.split(".")[:2] != wanted.split("."):
        text = f"the base image {name} has Python {system.python}, and image.python says {wanted}"
        yield Problem(text, _suggest_python(plan, system.python), plan.file.where("image", "python"))
    if not system.libc.startswith("glibc "):
        text = (
            f"the base image {name} has {system.libc or 'an unknown C library'}, and onnxruntime's packages need glibc"
        )
        yield Problem(text, "set `image.base` to an image of Debian, Ubuntu, Red Hat or their kind", place)
    elif _read_version(system.libc) < GLIBC:
        text = f"the base image {name} has {system.libc}, and onnxruntime's packages need {'.'.join(map(str, GLIBC))}"
        yield Problem(text, "set `image.base` to a newer image", place)
    if system.libstdcxx is False:
        text = f"the base image {name} has no C++ runtime, libstdc++.so.6, which onnxruntime links"
        yield Problem(text, "set `image.base` to an image with it: Debian's package is libstdc++6", place)


def _suggest_python(plan: Plan, found: str) -> str:
    """Return how base and spec come together: by the spec, if its field takes the Python that was found."""
    minor = ".".join(found.split(".")[:2])
    if minor in get_args(PythonVersion):
        lock = f"onnxpack lock {plan.file.path.name}"
        return f'set `image.python: "{minor}"` and run `{lock}`, or set another `image.base`'
    return f"set `image.base` to an image with Python {plan.file.spec.image.python}"


def _read_version(libc: str) -> tuple[int, ...]:
    """Return the numbers of ``glibc 2.36``; what is none counts as the oldest."""
    words = libc.partition(" ")[2].split(".")
    return tuple(int(word) for word in words) if all(word.isdecimal() for word in words) else ()
