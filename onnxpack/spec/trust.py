"""Trust in the code that a spec names: which code any spec may run, and which a person must trust first.

Building a spec runs the code that it names. It may be the project's own files, which its Git history shows, the
packages that its framework is used with, and what `model.requirements` pins. Anything else, as ``os:system``, could be
meant to do something else than to make a model.
"""

import functools
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.package_names import parse_pin_name
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.origin import is_code
from onnxpack.spec.traits import frameworks

_COMMON = ("numpy", "scipy", "sklearn")
"""The packages whose code any spec may name, besides those of its framework."""
_RUN_OTHERS = (
    "torch.hub", "torch.load", "torch.serialization", "torch.package", "torch.distributed", "torch.multiprocessing",
    "torch.utils.collect_env", "torch.utils.cpp_extension", "numpy.load", "numpy.f2py",
    "keras.models.load_model", "keras.saving", "keras.src.saving", "tensorflow.keras.models.load_model",
)  # fmt: skip
"""What of these packages runs a program, or code in a file or at an address, that its arguments name: those of a spec,
of which neither Git nor a digest knows."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages, in an environment and in Debian's own Python."""
_HINT = "check what it does; if you trust it, pass --trust. If not, use FILE.py:NAME of the project, or a package of {}"


def trust_code(file: SpecFile, *, trusted: bool) -> SpecFile:
    """Return the spec, marked as trusted if the user says so, once its code may be run.

    Raises:
        SpecError: it names code of another origin, and the user did not say that this is ``trusted``.
    """
    if trusted:
        return replace(file, trusted=True)
    hint = _HINT.format(f"{file.spec.model.framework}'s own, or one that model.requirements pins")
    problems = [
        Problem(f"'{reference}' is {reason}, and a build would run it", hint, file.where(*path))
        for path, reference in iterate_code_references(file.spec)
        if (reason := _explain_distrust(file, reference))
    ]
    if problems:
        raise SpecError(problems)
    return file


def iterate_code_references(spec: Spec) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every reference to code in a spec, with the path of its field."""
    for path in (
        ("model", "factory"), ("model", "prepare"), ("calibration", "data"), ("evaluation", "data"),
        ("evaluation", "metric"),
    ):  # fmt: skip
        reference = getattr(getattr(spec, path[0]), path[1], None)
        if reference is not None and is_code(reference):
            yield path, reference


def require_model_code(file: SpecFile, reference: str, target: Any) -> None:
    """Require that an imported object which a reference names runs nothing that its arguments name.

    A module holds what it imports, so ``model.py:run`` may be ``os.system``, and ``torch.nn:functional.torch.hub.load``
    is PyTorch's.

    Raises:
        SpecError: it is one, and the spec's code is not trusted.
    """
    if file.trusted or not callable(target):
        return
    while isinstance(target, functools.partial):
        target = target.func
    found = inspect.unwrap(target)
    module = str(getattr(found, "__module__", None) or type(found).__module__)
    place = getattr(sys.modules.get(module), "__file__", None)
    own = place is not None and Path(place).resolve().is_relative_to(file.root)  # a project may have a code.py
    if module.partition(".")[0] in sys.stdlib_module_names and not own:
        text = f"'{reference}' is a part of Python's own module '{module}', and a build would run it"
        raise SpecError(text, "name a function or class of the project itself; if you trust this one, pass --trust")
    if other := _find_runner(f"{module}.{getattr(found, '__qualname__', '')}"):
        text = f"'{reference}' is a part of '{other}', which runs what its arguments name"
        raise SpecError(text, "call it in a function of the project itself; if you trust this one, pass --trust")


def _explain_distrust(file: SpecFile, reference: str) -> str:
    """Return why the origin of a reference is not trusted; empty if it is."""
    place, _, name = reference.partition(":")
    top, first = place.partition(".")[0], name.partition(".")[0]
    if "." in name and first in sys.stdlib_module_names:
        return f"a part of Python's own module '{first}'"
    if place.endswith(".py"):
        return ""  # its file is checked to be in the work tree
    if top in sys.stdlib_module_names:
        return f"a part of Python's own module '{top}'"
    if other := _find_runner(f"{place}.{name}"):
        return f"a part of '{other}', which runs what its arguments name"
    if top in (*_COMMON, *frameworks()[file.spec.model.framework].packages) or _is_pinned(top, file.spec):
        return ""
    # What is installed under the same name would be imported instead of what stands beside the spec.
    beside = any((file.folder / name).exists() for name in (top, f"{top}.py"))
    found = importlib.util.find_spec(top)
    own = beside if found is None else _is_projects(file, found)
    return "" if own else f"code of '{top}', which the spec does not pin"


def _find_runner(dotted: str) -> str:
    """Return which of ``_RUN_OTHERS`` a name belongs to; empty if it does to none."""
    return next((other for other in _RUN_OTHERS if f"{dotted}.".startswith(f"{other}.")), "")


def _is_projects(file: SpecFile, found: ModuleSpec) -> bool:
    """Return whether an importable package lies in the work tree, and not in an environment there."""
    places = [found.origin] if found.origin else list(found.submodule_search_locations or ())
    paths = [Path(place) for place in places]
    # By both of its names: an environment's folder may be a link to one that is called otherwise.
    return bool(paths) and all(
        path.resolve().is_relative_to(file.root.resolve())
        and not _INSTALLED.intersection((*path.parts, *path.resolve().parts))
        for path in paths
    )


def _is_pinned(package: str, spec: Spec) -> bool:
    """Return whether a distribution is pinned that is named like the package, or longer: open-clip-torch."""
    wanted = package.lower().replace("_", "-")
    names = map(parse_pin_name, spec.model.requirements)
    return any(name == wanted or name.startswith(f"{wanted}-") for name in names)
