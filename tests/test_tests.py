"""Every test can fail, and every module of tests is named after a module of the package."""

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import onnxpack

_TESTS = Path(__file__).parent
_FAILING = {"raises", "warns", "fail", "require_parity"}
"""What fails a test without an assertion: pytest's own, and ``require_parity``, which raises where rows differ."""
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


_APART = {"clients", "docs", "e2e", "faults"}
"""Folders whose tests are not of one module."""


def find_module(path: str, modules: set[str]) -> str | None:
    """Return the module that the test module at ``path`` is named after, as ``package.module``; None if there is none.

    The name is ``test_<module>``, or ``test_<package>_<module>`` where two packages have one, and may end with a topic:
    ``spec/test_load_mutations.py`` is of ``spec.load``. A package stands for its ``__init__``.
    """
    package, _, name = path.removesuffix(".py").rpartition("/")
    words = name.removeprefix("test_").split("_")
    for end in range(len(words), 0, -1):
        stem = "_".join(words[:end])
        inner = stem.removeprefix(f"{package}_")
        for module in (stem, inner, inner.replace("_", ".", 1), "" if stem == package else stem):
            full = f"{package}.{module}".rstrip(".")
            if full in modules:
                return full
    return None


def test_every_test_module_is_named_after_the_module_that_it_tests() -> None:
    package = Path(onnxpack.__file__).parent
    files = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
    tests = [path.relative_to(_TESTS) for path in sorted(_TESTS.glob("*/test_*.py"))]
    found = {path.as_posix(): find_module(path.as_posix(), modules) for path in tests if path.parts[0] not in _APART}
    assert len(found) > 100
    assert [path for path, module in found.items() if module is None] == []


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("spec/test_load.py", "spec.load"),
        ("spec/test_load_mutations.py", "spec.load"),
        ("cli/test_cli_init.py", "cli.init"),
        ("sources/test_torch_weights.py", "sources.torch.weights"),
        ("targets/test_targets.py", "targets"),
        ("sources/test_sources_contract.py", "sources"),
        ("spec/test_stray.py", None),
        ("stray/test_load.py", None),
    ],
)
def test_find_module_of_a_path_gives_the_module_of_its_name(path: str, module: str | None) -> None:
    known = {"spec.load", "cli.init", "sources", "sources.torch", "sources.torch.weights", "targets"}
    assert find_module(path, known) == module


def test_no_two_modules_of_tests_have_one_name() -> None:
    names = Counter(path.name for path in _TESTS.rglob("test_*.py"))  # pytest imports them by it
    assert [name for name, count in names.items() if count > 1] == []
