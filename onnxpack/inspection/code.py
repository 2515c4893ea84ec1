"""Finds the class that may have made some weights; Python files are parsed, never run."""

import ast
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Bounds of the search: the folders around a file of weights may hold anything.
_MAX_FILES = 200
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Code:
    """A class in a file, as a spec refers to it, and the arguments of its ``forward``."""

    reference: str
    arguments: tuple[str, ...]
    needed: tuple[str, ...]
    """The constructor's parameters without a default."""
    parameters: tuple[str, ...] | None
    """All parameters of the constructor; None where it takes any."""

    def explain(self, given: Iterable[str]) -> list[str]:
        """Return notes on the class; ``given`` are the arguments that are known already."""
        notes = ["its attributes fit the weights; check that it is the one"]
        if missing := [name for name in self.needed if name not in set(given)]:
            example = ", ".join(f"{name}: …" for name in missing)
            notes.append(f"check: its constructor needs arguments: add  kwargs: {{{example}}}")
        return notes


def find_class(keys: list[str], weights: Path, folder: Path, root: Path) -> Code | None:
    """Find the class near the file of ``weights`` whose attributes are the first words of all its keys.

    The search covers the file's folder, the spec's ``folder``, which the path is relative to, and the folder above
    each, but never one outside ``root``.
    """
    words = {key.removeprefix("module.").partition(".")[0] for key in keys}
    beside = weights.parent.resolve()
    near = dict.fromkeys((beside, folder.resolve(), beside.parent, folder.resolve().parent))
    inside = [place for place in near if place.is_relative_to(root.resolve())]
    for path in [path for place in inside for path in sorted(place.glob("*.py"))][:_MAX_FILES]:
        for definition in _classes(path):
            if words <= _attributes(definition):
                return _code(definition, os.path.relpath(path, folder.resolve()))
    return None


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    """Yield the subclasses of something called ``…Module`` in a file."""
    for node in _parse(path):
        if isinstance(node, ast.ClassDef):
            bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
            if any(base.endswith("Module") for base in bases):
                yield node


def _parse(path: Path) -> list[ast.stmt]:
    """Return the statements of a file; none where it cannot be parsed."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return []
        return ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _attributes(definition: ast.ClassDef) -> set[str]:
    """Return the names assigned on ``self``, and those of parameters, buffers and modules registered by name."""
    found = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            registers = node.func.attr in ("register_buffer", "register_parameter", "add_module", "register_module")
            if registers and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def list_parameters(path: Path, name: str) -> tuple[str, ...] | None:
    """Return the parameters of a function or a class' constructor in a file; None where it takes any, or is unknown."""
    for node in _parse(path):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _list_names(node, 0)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _list_constructor(node)
    return None


def _list_constructor(definition: ast.ClassDef) -> tuple[str, ...] | None:
    made = [node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    return _list_names(made[0], 1) if made else None


def _list_names(function: ast.FunctionDef, skipped: int) -> tuple[str, ...] | None:
    arguments = function.args
    if arguments.kwarg:
        return None
    return tuple(one.arg for one in [*arguments.args[skipped:], *arguments.kwonlyargs])


def _code(definition: ast.ClassDef, path: str) -> Code:
    methods = {node.name: _list_required(node) for node in definition.body if isinstance(node, ast.FunctionDef)}
    reference = f"{path}:{definition.name}"
    parameters = _list_constructor(definition)
    return Code(reference, methods.get("forward", ()), methods.get("__init__", ()), parameters)


def _list_required(method: ast.FunctionDef) -> tuple[str, ...]:
    """Return a method's arguments that have no default, without ``self``."""
    every = [*method.args.posonlyargs, *method.args.args]
    return tuple(one.arg for one in every[1 : len(every) - len(method.args.defaults)])
