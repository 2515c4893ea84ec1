"""What a start imports is compiled, to the same bytes wherever and whenever, under names that an import finds."""

import importlib.util
import io
import marshal
import py_compile
import subprocess
import sys
import tarfile
from pathlib import Path
from types import CodeType

import pytest

from onnxpack.bundle import compiler
from onnxpack.bundle.compiler import Finder, Source, compile_all, list_imports, main, walk

LIB = "/opt/onnxpack/lib"
FILES = {
    "a/__init__.py": b"from . import b\nfrom .c import thing\n",
    "a/b.py": b"import e\ndef later():\n    import a.unused\n",
    "a/c.py": b"try:\n    from a.d import x\nexcept ImportError:\n    thing = 1\n",
    "a/d.py": b"x = {'some', 'set'}, 'a string', frozenset(['one', 'two', 'three'])\n",
    "a/unused.py": b"",
    "e.py": b"if True:\n    import base_module\n",
}


def suffix() -> str:
    return f".{sys.implementation.cache_tag}.pyc"


def compiled(folder: Path, *roots: str, files: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """What the command makes of the files."""
    main([str(pack(folder, files or FILES)), str(folder / "result.tar"), LIB, *roots])
    return unpack(folder / "result.tar")


def pack(folder: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(folder / "sources.tar", "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return folder / "sources.tar"


def unpack(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: stream.read() for member in archive if (stream := archive.extractfile(member))}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a base's library, as the real path of a link on the interpreter's path."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "base_module.py").write_text("import other\n")
    (real / "other.py").write_text("def f():\n    '''Do.'''\n")
    (tmp_path / "link").symlink_to(real)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link")])
    return real


def test_what_is_imported_at_the_top_level_is_compiled_and_nothing_else(tmp_path: Path, base: Path) -> None:
    places = ("a/__pycache__/__init__", "a/__pycache__/b", "a/__pycache__/c", "a/__pycache__/d", "__pycache__/e")
    names = {f"opt/onnxpack/lib/{place}{suffix()}" for place in places}
    library = {f"{str(base).lstrip('/')}/__pycache__/{name}{suffix()}" for name in ("base_module", "other")}
    assert set(compiled(tmp_path, "a", "absent")) == names | library


def test_the_packages_around_a_module_are_compiled_with_it(tmp_path: Path, base: Path) -> None:
    assert f"opt/onnxpack/lib/a/__pycache__/__init__{suffix()}" in compiled(tmp_path, "a.unused")


def test_without_a_root_every_file_is_compiled_and_nothing_of_the_base(tmp_path: Path, base: Path) -> None:
    made = compiled(tmp_path)
    assert len(made) == len(FILES)
    assert all(name.startswith("opt/onnxpack/lib/") for name in made)


def test_what_the_base_compiled_itself_or_has_built_in_is_left_alone(tmp_path: Path, base: Path) -> None:
    py_compile.compile(str(base / "other.py"))
    (base / "os.py").write_text("")  # the real one is frozen
    made = compiled(tmp_path, "base_module", "os")
    assert list(made) == [f"{str(base).lstrip('/')}/__pycache__/base_module{suffix()}"]


def test_a_base_whose_root_lies_elsewhere_gives_the_same_names_and_bytes(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "root/usr/lib"
    library.mkdir(parents=True)
    for name in ("base_module.py", "other.py"):
        (library / name).write_bytes((base / name).read_bytes())
    py_compile.compile(str(library / "base_module.py"))
    monkeypatch.setattr(sys, "path", [str(library)])
    monkeypatch.setenv("ONNXPACK_ROOT", str(tmp_path / "root"))
    made = compiled(tmp_path, "base_module")
    assert list(made) == [f"usr/lib/__pycache__/other{suffix()}"], "the base's own compiled module is found there"
    (data,) = made.values()
    assert names_of(marshal.loads(data[16:])) == {"/usr/lib/other.py"}


def test_a_package_of_the_image_hides_one_of_the_base(tmp_path: Path, base: Path) -> None:
    (base / "a").mkdir()
    (base / "a/unused.py").write_text("")
    (base / "a/more.py").write_text("")
    finder = Finder({"a/__init__.py": b""}, Path(LIB))
    assert [source.name for source in walk(finder, ["a.more", "a.unused", "a"])] == ["a"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import x.y as z, w", {"x.y", "w"}),
        ("from x import y", {"x", "x.y"}),
        ("from . import y", {"p", "p.y"}),
        ("from .. import y", {"", ".y"}),
        ("class A:\n    import x", {"x"}),
        ("try:\n    import x\nexcept E:\n    import y\nelse:\n    import z\nfinally:\n    import w", set("xyzw")),
        ("with a:\n    import x\nfor b in c:\n    import y", {"x", "y"}),
        ("if a:\n    import x\nelif b:\n    import y\nelse:\n    import z", {"x", "y", "z"}),
        ("if TYPE_CHECKING:\n    import x\nelse:\n    import y", {"y"}),
        ("if __name__ == '__main__':\n    import x", set()),
        ("if sys.platform == 'win32':\n    import x\nelse:\n    import y", {"y"}),
        ("def f():\n    import x\nasync def g():\n    import y\nh = lambda: __import__('z')", set()),
        ("import x\nthis is no Python", set()),
    ],
)
def test_list_imports_gives_what_runs_with_the_module(text: str, names: set[str]) -> None:
    source = Source("p.m", Path(f"{LIB}/p/m.py"), is_package=False, text=text.encode(), of_base=False)
    assert set(list_imports(source)) == names


def test_relative_imports_of_a_package_begin_at_itself() -> None:
    source = Source("p.m", Path(f"{LIB}/p/m/__init__.py"), is_package=True, text=b"from . import y", of_base=False)
    assert set(list_imports(source)) == {"p.m", "p.m.y"}


def names_of(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {code.co_filename}.union(*map(names_of, inner))


def test_code_says_where_its_source_is_in_the_image(tmp_path: Path, base: Path) -> None:
    made = compiled(tmp_path, files={"m.py": b"def f():\n    class A:\n        def g(self): ...\n"})
    data = made[f"opt/onnxpack/lib/__pycache__/m{suffix()}"]
    assert names_of(marshal.loads(data[16:])) == {f"{LIB}/m.py"}
    assert str(tmp_path).encode() not in data


def test_the_image_s_own_modules_are_never_compared_and_those_of_the_base_always(tmp_path: Path, base: Path) -> None:
    """A base of the same name may have other sources tomorrow."""
    flags = {Path(name).name.partition(".")[0]: data[4:8] for name, data in compiled(tmp_path, "a").items()}
    unchecked, checked = b"\1\0\0\0", b"\3\0\0\0"
    assert flags == {"__init__": unchecked, "b": unchecked, "c": unchecked, "d": unchecked, "e": unchecked,
                     "base_module": checked, "other": checked}  # fmt: skip


def test_an_import_takes_the_compiled_module_while_the_base_has_that_source(tmp_path: Path, base: Path) -> None:
    made = compiled(tmp_path, "other")
    ((name, data),) = made.items()
    folder = tmp_path / "image"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / Path(name).name).write_bytes(data)
    show = [sys.executable, "-I", "-v", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); import other"]
    taken = {}
    for text in ((base / "other.py").read_text(), "new = 1\n"):
        (folder / "other.py").write_text(text)
        log = subprocess.run([*show], env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=True)
        taken[text] = f"# code object from '{folder}/__pycache__/" in log.stderr
    assert list(taken.values()) == [True, False]


def test_the_bytes_are_those_of_the_ordinary_compiler(tmp_path: Path, base: Path) -> None:
    (tmp_path / "m.py").write_bytes(FILES["a/d.py"])
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(tmp_path / "m.py"), str(tmp_path / "m.pyc"), dfile=f"{LIB}/a/d.py", invalidation_mode=mode)
    made = compiled(tmp_path)[f"opt/onnxpack/lib/a/__pycache__/d{suffix()}"]
    ordinary = (tmp_path / "m.pyc").read_bytes()
    assert made[:16] == ordinary[:16]
    assert marshal.loads(made[16:]) == marshal.loads(ordinary[16:])


def test_two_compilations_give_the_same_bytes(tmp_path: Path) -> None:
    """In other folders, with other hashes of strings, and beside other modules that use the same names."""
    import json

    files = {f"m/{path.name}": path.read_bytes() for path in Path(json.__file__).parent.glob("*.py")}
    files["m/__init__.py"] = b"def only(once, *, upon=('a_time',)): return lambda: once.there_was({'a', 'king'})\n"
    results = []
    for seed, more in (("1", {}), ("4711", {"m.py": files["m/__init__.py"]})):
        folder = tmp_path / f"folder-{seed}"
        folder.mkdir()
        command = [sys.executable, "-c", Path(compiler.__file__).read_text(), str(pack(folder, files | more))]
        command += [str(folder / "result.tar"), LIB]
        subprocess.run(command, cwd=folder, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True)
        results.append({name: data for name, data in unpack(folder / "result.tar").items() if "/m/" in name})
    assert len(results[0]) == len(files)
    assert results[0] == results[1]


def test_a_module_that_does_not_compile_is_left_out(tmp_path: Path, base: Path) -> None:
    """Packages hold modules for other versions of Python, which nothing imports in this one."""
    made = compiled(tmp_path, files={"good.py": b"", "newer.py": b"this is no Python"})
    assert [Path(name).name for name in made] == [f"good{suffix()}"]


def test_the_command_compiles_without_a_word(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", Path(compiler.__file__).read_text(), str(pack(tmp_path, FILES))]
    done = subprocess.run([*command, str(tmp_path / "result.tar"), LIB], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert unpack(tmp_path / "result.tar")


def test_names_are_those_that_an_import_looks_for() -> None:
    source = Source("m", Path(f"{LIB}/m.py"), is_package=False, text=b"", of_base=False)
    ((name, data),) = compile_all([source])
    assert f"/{name}" == importlib.util.cache_from_source(f"{LIB}/m.py")
    assert data[:4] == importlib.util.MAGIC_NUMBER
