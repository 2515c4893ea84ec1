"""Import and call of the user's code that a spec names; used in child processes only."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from onnxpack.core.errors import OnnxpackError, SourceError
from onnxpack.spec.load import SpecFile
from onnxpack.spec.trust import require_model_code
from onnxpack.worker.torch_builds import explain_torchvision


def import_attribute(file: SpecFile, reference: str) -> Any:
    """Import what ``FILE.py:NAME`` or ``package.module:NAME`` names; modules beside it, or the spec, can be imported.

    Raises:
        SourceError: it cannot be imported, or the name is not there.
        SpecError: it is a part of Python's own library, and the spec's code is not trusted.
    """
    place, _, name = reference.partition(":")
    try:
        if place.endswith(".py"):
            module = _import_file(file.resolve(place))
        else:
            sys.path.append(str(file.folder))
            module = importlib.import_module(place)
    except SyntaxError as error:
        culprit = Path(error.filename or place).name
        raise SourceError(f"{culprit}, line {error.lineno}: {error.msg}", "correct the syntax of the file") from None
    except Exception as error:  # a user's module may raise anything while it is imported
        if known_cause := explain_torchvision(error):
            raise SourceError(f"importing {place} failed: {known_cause[0]}", known_cause[1]) from None
        raise SourceError(
            f"importing {place} failed: {type(error).__name__}: {error}",
            "correct the cause, so that it can be imported by itself",
        ) from None
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            known = ", ".join(key for key in vars(module) if not key.startswith("_"))[:300]
            raise SourceError(f"{place} has no '{name}'", f"it has: {known}")
        target = getattr(target, part)
    require_model_code(file, reference, target)
    return target


def call_function(function: Any, reference: str, hint: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call the user's function and return its result; ``hint`` says how to look for the cause if it raises.

    Raises:
        SourceError: it raised, or does not take these arguments.
    """
    try:
        return function(*args, **kwargs)
    except OnnxpackError:
        raise
    except Exception as error:  # a user's function may raise anything
        if known_cause := explain_torchvision(error):
            raise SourceError(f"{reference} failed: {known_cause[0]}", known_cause[1]) from None
        raise SourceError(f"{reference} raised {type(error).__name__}: {error}", hint) from None


def run_factory(file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call the factory ``FILE.py:NAME`` or ``package.module:NAME`` and return the model that it makes.

    Raises:
        SourceError: it cannot be imported, is not there, or raises.
    """
    return call_function(
        import_attribute(file, reference), reference, "call it with the spec's kwargs by hand", *args, **kwargs
    )


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module once: its classes must be the same for a factory and for ``model.prepare``."""
    loaded = sys.modules.get(path.stem)
    if loaded and getattr(loaded, "__file__", None) == str(path):
        return loaded
    sys.path.insert(0, str(path.parent))
    definition = importlib.util.spec_from_file_location(path.stem, path)
    assert definition
    assert definition.loader
    module = importlib.util.module_from_spec(definition)
    sys.modules[path.stem] = module
    definition.loader.exec_module(module)
    return module
