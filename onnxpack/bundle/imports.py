"""Read from a module's source what it imports, and when: as it is loaded, or when one of its functions runs."""

import ast
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from onnxpack.bundle.compiler import is_later

_PARAMETERS = r"\[(?:[^][]|\[(?:[^][]|\[[^][]*\])*\])*\]"
"""A pattern of brackets that hold brackets of two more levels."""
_GENERIC = re.compile(rf"^([ \t]*(?:(?:async[ ]+)?def|class)[ ]+\w+){_PARAMETERS}", re.MULTILINE)
_ALIAS = re.compile(rf"^([ \t]*)type[ ]+(\w+)(?:{_PARAMETERS})?(\s*=(?!=))", re.MULTILINE)
"""The syntax for types of PEP 695, which Python 3.12 reads."""
_ON_DEMAND = ("__getattr__", "__dir__")
"""Functions that Python calls for names that a module lacks; what asks for such a name is an edge itself."""


@dataclass(frozen=True)
class Block:
    """A part of a module that runs as one.

    Attributes:
        function: the name of the module's function that it is; empty for what runs as the module is loaded.
        modules: names that may be modules: of its imports, and of the attributes that it takes from modules.
        names: every other name that it mentions.
    """

    function: str
    modules: tuple[str, ...]
    names: frozenset[str]


@dataclass(frozen=True)
class ModuleCode:
    """A module's blocks, and its short texts, which may name files."""

    blocks: tuple[Block, ...]
    texts: frozenset[str]


def read_code(name: str, source: bytes, *, is_package: bool) -> ModuleCode:
    """Read the source of the module ``name``.

    Methods count as running whenever their module is loaded: whose method a call means cannot be told.

    Raises:
        SyntaxError: this Python cannot read it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code
        tree = ast.parse(_spell_older(source))
    reader = _Reader(name.split("."), is_package=is_package, tree=tree)
    reader.visit(tree)
    blocks = (
        Block(function, tuple(dict.fromkeys(reader.modules[function])), frozenset(reader.names[function]))
        for function in dict.fromkeys(("", *reader.modules, *reader.names))
        if function not in _ON_DEMAND
    )
    return ModuleCode(tuple(blocks), frozenset(reader.texts))


def _spell_older(source: bytes) -> bytes:
    """Return a source without PEP 695's parameters of types, which import nothing.

    It is done whether the Python that builds can read them or not: what an image holds must not depend on that one.
    """
    text = source.decode("latin-1")  # the words of the syntax are ASCII; all other bytes come back as they were
    return _ALIAS.sub(r"\1\2\3", _GENERIC.sub(r"\1", text)).encode("latin-1")


class _Reader(ast.NodeVisitor):
    def __init__(self, parts: list[str], *, is_package: bool, tree: ast.Module) -> None:
        self._parts = parts
        self._is_package = is_package
        self._block = ""
        self._in_class = False
        self._aliases: defaultdict[str, set[str]] = defaultdict(set)
        self.modules: defaultdict[str, list[str]] = defaultdict(list)
        self.names: defaultdict[str, set[str]] = defaultdict(set)
        self.texts: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._aliases[alias.asname or alias.name.partition(".")[0]].add(
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias, found in zip(node.names, self._list_from(node), strict=True):
                    self._aliases[alias.asname or alias.name].add(found)

    def _list_from(self, node: ast.ImportFrom) -> Iterator[str]:
        package = self._parts[: len(self._parts) - node.level + self._is_package] if node.level else []
        base = ".".join([*package, *([node.module] if node.module else [])])
        yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names)

    def visit_Import(self, node: ast.Import) -> None:
        self.modules[self._block] += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.modules[self._block] += self._list_from(node)

    def visit_If(self, node: ast.If) -> None:
        for part in node.orelse if is_later(node.test) else (node.test, *node.body, *node.orelse):
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._in_class = self._in_class, True
        self.generic_visit(node)
        self._in_class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *([node.returns] if node.returns else [])):
            self.visit(part)  # they run with what is around the function
        outer = self._block
        if not outer and not self._in_class:
            self._block = node.name
        for part in node.body:
            self.visit(part)
        self._block = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.names[self._block].add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.names[self._block].add(node.attr)
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            for module in sorted(self._aliases.get(inner.id, ())):
                self.modules[self._block].append(".".join([module, *reversed(chain)]))
        self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 200 and "." in node.value:
            self.texts.add(node.value)
