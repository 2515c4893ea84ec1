"""Call a spec's factory or `prepare` function, and check that it returns a model."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from onnxpack.core.errors import SourceError
from onnxpack.core.text import with_article
from onnxpack.spec.load import SpecFile
from onnxpack.worker.user_code import import_attribute, run_factory

_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def call_factory(file: SpecFile, reference: str, kind: type, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call the code at ``FILE.py:NAME`` or ``package.module:NAME``; return its model, an object of ``kind``.

    What is given a model and returns None has changed it in place, as `prepare` may. ``name`` is what a user calls that
    class, such as ``torch.nn.Module``.

    Raises:
        SourceError: it cannot be imported, is not there, takes other arguments, raises, or returns something else.
    """
    _require_arguments(import_attribute(file, reference), reference, args, kwargs)
    value = run_factory(file, reference, *args, **kwargs)
    if isinstance(value, kind):
        return value
    if value is None and len(args) == 1 and isinstance(args[0], kind):
        return args[0]
    if value is None:
        raise SourceError(f"{reference} returned None", f"end it with `return net`, where net is the {name}")
    raise SourceError(f"{reference} returned {with_article(type(value).__name__)}", f"let it return a {name}")


def _require_arguments(function: Any, reference: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not callable, which the call itself reports, or written in C
        return
    parameters = signature.parameters.values()
    takes = ", ".join(f"{_STARS.get(one.kind, '')}{one.name}" for one in parameters)
    hint = f"it takes: {takes or 'no arguments'}"
    # First, as ``bind`` would name the argument that a misspelt one leaves out.
    unknown = [name for name in kwargs if name not in signature.parameters]
    if unknown and all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in parameters):
        raise SourceError(f"{reference} has no argument '{unknown[0]}'", hint)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise SourceError(f"{reference} cannot be called: {error}", hint) from None
