"""Every test can fail: it asserts something itself, or calls a helper that does."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent
_FAILING = {"raises", "warns", "fail", "require"}
"""What fails a test without being an assertion: pytest's own, and ``require``, which raises where rows differ."""
_NUMPY = "assert_"
"""How the functions of numpy.testing begin."""


@dataclass(frozen=True)
class Function:
    """A function or method of a test's module, what it calls, and whether it asserts something itself."""

    module: str
    name: str
    line: int
    calls: frozenset[str]
    asserts: bool


def read_functions(text: str, module: str) -> list[Function]:
    """Return the functions of a module's source."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            called = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
            names = {word.attr for word in called if isinstance(word, ast.Attribute)}
            names |= {word.id for word in called if isinstance(word, ast.Name)}
            asserts = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
            asserts |= any(name in _FAILING or name.startswith(_NUMPY) for name in names)
            found.append(Function(module, node.name, node.lineno, frozenset(names), asserts))
    return found


def find_idle(functions: list[Function]) -> list[Function]:
    """Return the tests that assert nothing, neither themselves nor through what they call."""
    asserting = {function for function in functions if function.asserts}
    while True:
        more = {
            function
            for function in functions
            if function not in asserting
            and any(_asserts(name, function, functions, asserting) for name in function.calls)
        }
        if not more:
            break
        asserting |= more
    return [function for function in functions if function.name.startswith("test_") and function not in asserting]


def _asserts(name: str, caller: Function, functions: list[Function], asserting: set[Function]) -> bool:
    """Return whether what a function calls by a name asserts something: its own module's, else another's."""
    named = [function for function in functions if function.name == name]
    found = [function for function in named if function.module == caller.module] or named
    return bool(found) and all(function in asserting for function in found)


def test_every_test_asserts_something() -> None:
    functions: list[Function] = []
    for path in sorted(_TESTS.rglob("*.py")):
        functions += read_functions(path.read_text(), path.relative_to(_TESTS).as_posix())
    assert [f"{idle.module}:{idle.line} {idle.name}" for idle in find_idle(functions)] == []


@pytest.mark.parametrize(
    ("body", "idle"),
    [
        ("pass", True),
        ("work()", True),
        ("nothing()", True),
        ("assert work()", False),
        ("helper()", False),
        ("outer()", False),
        ("np.testing.assert_array_equal(a, b)", False),
        ("with pytest.raises(ValueError):\n    work()", False),
    ],
)
def test_find_idle_of_a_small_file_tells_idle_tests(body: str, idle: bool) -> None:
    helpers = "def helper():\n  assert work()\ndef outer():\n  helper()\ndef nothing():\n  work()\n"
    found = find_idle(read_functions(f"{helpers}def test_it():\n  {body}\n", "small.py"))
    assert [function.name for function in found] == (["test_it"] if idle else [])
