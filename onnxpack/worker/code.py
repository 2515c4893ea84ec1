"""The modules of this package that a module may import, for the keys of work in the build's own process.

In a child process the trace says what was imported. The build itself has imported everything, so there the import
statements are followed, wherever in a module they stand.
"""

import ast
from functools import cache
from pathlib import Path

from onnxpack.cache.trace import digest_module, find_module_source
from onnxpack.worker.codec import digest_value

_ROOT = __name__.partition(".")[0]


@cache
def digest_code(module: str) -> str:
    """Return the SHA-256 of the source of a module and of all of this package that it may import."""
    return digest_value([(name, digest_module(name)) for name in sorted(import_closure(module))])


def import_closure(module: str) -> set[str]:
    """Return the names of ``module`` and of this package's modules that its import statements reach."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and (path := find_module_source(name)):
            found.add(name)
            waiting += [*_list_imports(path), *_list_parents(name)]
    return found


@cache  # what several modules reach is parsed once
def _list_imports(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse  # the other branch never runs
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported from a package may be one of its modules.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.partition(".")[0] == _ROOT)


def _list_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
