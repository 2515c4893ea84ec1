"""What a module of this package may import, and the digest that changes with any of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import onnxpack.cache.trace
import onnxpack.worker.code
from onnxpack.cache.trace import digest_module
from onnxpack.worker.code import digest_code, import_closure

PACKAGE = Path(sys.modules["onnxpack"].__file__ or "").parent


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    digest_code.cache_clear()


def test_a_closure_holds_what_a_module_imports_and_their_packages() -> None:
    found = import_closure("onnxpack.image.smoke")
    assert {
        "onnxpack.image.smoke",
        "onnxpack.core.errors",
        "onnxpack.parity.compare",
        "onnxpack.core.values",
        "onnxpack",
    } <= found
    assert "onnxpack.core.digests" in found, "by way of another module"
    assert "onnxpack.timing.probe" in found, "what runs in the container counts too"
    assert not [name for name in found if name.startswith(("onnxpack.cli", "onnxpack.sources", "onnxpack.inspection"))]
    assert not [name for name in found if not name.startswith("onnxpack")]


def test_a_closure_holds_all_that_is_really_imported() -> None:
    code = (
        "import sys, onnxpack.image.smoke; print(*(name for name in sys.modules if name.split('.')[0] == 'onnxpack'))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) <= import_closure("onnxpack.image.smoke")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name, with an import of every form."""
    folder = tmp_path / "onnxpack"
    (folder / "sub").mkdir(parents=True)
    modules = {
        "__init__.py": "",
        "main.py": "import json\nfrom onnxpack import named\nimport onnxpack.plain\n\n"
        "def work():\n    from onnxpack.sub.late import thing\n\nif False:\n    import onnxpack.never",
        "named.py": "from onnxpack.named_too import one",
        "named_too.py": "import onnxpack.main",  # a circle
        "plain.py": "",
        "never.py": "",
        "sub/__init__.py": "import onnxpack.of_package",
        "sub/late.py": "",
        "sub/other.py": "",
        "of_package.py": "",
        "unrelated.py": "import onnxpack.main",
    }
    for name, text in modules.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(onnxpack.cache.trace, "PACKAGE", folder)
    return folder


def test_every_form_of_import_is_followed(package: Path) -> None:
    assert import_closure("onnxpack.main") == {
        "onnxpack", "onnxpack.main", "onnxpack.named", "onnxpack.named_too", "onnxpack.plain", "onnxpack.never",
        "onnxpack.sub", "onnxpack.sub.late", "onnxpack.of_package",
    }  # fmt: skip


def test_no_import_of_this_package_is_relative() -> None:
    """The closure does not follow such an import."""
    found = [path for path in PACKAGE.rglob("*.py") if re.search(r"^\s*from \.", path.read_text(), re.MULTILINE)]
    assert found == []


def test_imports_for_the_type_checker_alone_are_not_followed(package: Path) -> None:
    text = "if TYPE_CHECKING:\n    import onnxpack.never\nelse:\n    import onnxpack.plain"
    (package / "main.py").write_text(text)
    assert import_closure("onnxpack.main") == {"onnxpack", "onnxpack.main", "onnxpack.plain"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [("parity.compare", False), ("image.smoke", False), ("core.digests", False), ("cli", True)],
)
def test_the_digest_changes_with_every_module_of_the_closure(
    monkeypatch: pytest.MonkeyPatch, changed: str, same: bool
) -> None:
    before = digest_code("onnxpack.image.smoke")
    digest_code.cache_clear()
    name = f"onnxpack.{changed}"
    monkeypatch.setattr(
        onnxpack.worker.code, "digest_module", lambda asked: "changed" if asked == name else digest_module(asked)
    )
    assert (digest_code("onnxpack.image.smoke") == before) == same


def test_the_digest_is_of_the_source_and_not_of_its_place(tmp_path: Path) -> None:
    """In a copy of the package, run by itself."""
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "copy/onnxpack"))
    code = "from onnxpack.worker.code import digest_code; print(digest_code('onnxpack.image.smoke'))"

    def in_copy() -> str:
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path / "copy"
        )
        return ended.stdout.strip()

    assert in_copy() == digest_code("onnxpack.image.smoke")
    compare = copy / "parity/compare.py"
    compare.write_text(compare.read_text() + "# more\n")
    assert in_copy() != digest_code("onnxpack.image.smoke")
