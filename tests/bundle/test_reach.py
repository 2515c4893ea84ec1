"""Which files a start reaches, over imports, links and names, and what is said of the way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxpack.bundle import reach
from onnxpack.bundle.layer import Root, Why
from onnxpack.bundle.reach import Untaken, find_reached, name_module
from onnxpack.core.errors import EngineError

Find = Callable[..., dict[str, Why]]
LIBRARIES = {"pkg/fast.cpython-311.so": (["libone.so.1"], b"\0pkg.hidden\0work_late\0table.dat\0libopened.so\0")}


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Write files, and follow from the roots; a library's links are told by its name."""
    links = {name: needed for name, (needed, _) in LIBRARIES.items()} | {"libs/libone.so.1": ["libtwo.so", "libc.so.6"]}
    read = reach.read_needed_libraries
    assert read(Path("/dev/null")) == []
    monkeypatch.setattr(
        reach, "read_needed_libraries", lambda path: links.get(path.relative_to(tmp_path).as_posix(), [])
    )

    def find(files: dict[str, str | bytes], *roots: str, **more: object) -> dict[str, Why]:
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return find_reached(tmp_path, sorted(files), [Root(name, "app/a.py") for name in roots or ("pkg",)], **more)

    return find


def test_imports_are_followed_with_their_packages(find: Find) -> None:
    files = {"pkg/__init__.py": "import other.deep.one", "other/__init__.py": "", "other/deep/__init__.py": "",
             "other/deep/one.py": "import json", "other/two.py": "", "pkg/three.py": ""}  # fmt: skip
    assert find(files) == {
        "pkg/__init__.py": Why("imported by", "app/a.py"),
        "other/__init__.py": Why("the package of", "other/deep/one.py"),
        "other/deep/__init__.py": Why("the package of", "other/deep/one.py"),
        "other/deep/one.py": Why("imported by", "pkg/__init__.py"),
    }


def test_a_function_is_followed_once_something_mentions_its_name(find: Find) -> None:
    files = {"pkg/__init__.py": "from .work import run\ndef start():\n    import pkg.by_start\n",
             "pkg/work.py": "def run():\n    import pkg.by_run\n    deeper()\ndef deeper():\n    import pkg.by_deeper",
             "pkg/by_run.py": "", "pkg/by_start.py": "", "pkg/by_deeper.py": ""}  # fmt: skip
    assert "pkg/by_run.py" not in find(files)
    found = find(files, "pkg.run")
    assert found["pkg/by_run.py"] == Why("imported in run() of", "pkg/work.py")
    assert found["pkg/by_deeper.py"] == Why("imported in deeper() of", "pkg/work.py")
    assert "pkg/by_start.py" not in found


def test_a_module_that_is_made_on_demand_is_followed_where_its_name_is_used(find: Find) -> None:
    files = {"pkg/__init__.py": "def __getattr__(name):\n    import pkg.lazy\n", "pkg/lazy.py": "",
             "user.py": "import pkg as p\nclass A:\n    def use(self): return p.lazy.thing", }  # fmt: skip
    assert "pkg/lazy.py" not in find(files)
    assert find(files, "user")["pkg/lazy.py"] == Why("imported by", "user.py")


def test_libraries_are_followed_by_links_and_by_the_names_in_them(find: Find) -> None:
    files = {"pkg/__init__.py": "from . import fast\ndef work_late():\n    import pkg.late", "pkg/late.py": "",
             "pkg/fast.cpython-311.so": LIBRARIES["pkg/fast.cpython-311.so"][1], "pkg/hidden.py": "",
             "pkg/table.dat": "", "pkg/libopened.so": b"", "libs/libone.so.1": b"", "libs/libtwo.so": b"",
             "libs/libthree.so": b"",
             "else/table.dat": ""}  # fmt: skip
    found = find(files)
    library = "pkg/fast.cpython-311.so"
    assert found["libs/libone.so.1"] == Why("linked by", library)
    assert found["libs/libtwo.so"] == Why("linked by", "libs/libone.so.1")
    assert found["pkg/hidden.py"] == Why("imported by", library)
    assert found["pkg/table.dat"] == found["pkg/libopened.so"] == Why("named in", library)
    assert found["pkg/late.py"] == Why("imported in work_late() of", "pkg/__init__.py")
    assert "libs/libthree.so" not in found
    assert "else/table.dat" not in found, "it is of another package"


def test_an_edge_that_is_never_taken_is_not_followed(find: Find) -> None:
    files = {"pkg/__init__.py": "import pkg.tests.run, pkg.data\nopen('x/roots.pem')", "pkg/tests/__init__.py": "",
             "pkg/tests/run.py": "", "pkg/data.py": "", "pkg/x/roots.pem": ""}  # fmt: skip
    untaken = [Untaken("pkg/__init__.py", "pkg.tests", "never"), Untaken("", "pkg/x/roots.pem", "never")]
    assert sorted(find(files, untaken=untaken)) == ["pkg/__init__.py", "pkg/data.py"]
    assert len(find(files)) == len(files)


def test_what_is_kept_whole_reaches_what_it_imports_in_any_function(find: Find) -> None:
    files = {"pkg/__init__.py": "", "pkg/odd.py": "", "extra/__init__.py": "def never():\n    import pkg.odd",
             "extra/template.py": "{{ no Python }}"}  # fmt: skip
    assert "pkg/odd.py" in find(files, whole=["extra/__init__.py", "extra/template.py"])


def test_a_module_that_cannot_be_read_says_what_to_do(find: Find) -> None:
    with pytest.raises(EngineError, match=r"cannot tell what pkg/__init__.py imports") as refused:
        find({"pkg/__init__.py": "import ("})
    assert "newer Python" in refused.value.problems[0].hint


def test_reasons_do_not_depend_on_the_order_of_sets(find: Find) -> None:
    files = {"pkg/__init__.py": "import pkg.b, pkg.a", "pkg/a.py": "import pkg.c", "pkg/b.py": "import pkg.c",
             "pkg/c.py": ""}  # fmt: skip
    assert find(files)["pkg/c.py"] == Why("imported by", "pkg/b.py")


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.py", "a.b"), ("a/__init__.py", "a"), ("a/b.cpython-311-x86_64-linux-gnu.so", "a.b"), ("c.abi3.so", "c")],
)
def test_modules_are_named_by_their_files(path: str, name: str) -> None:
    assert name_module(path) == name
