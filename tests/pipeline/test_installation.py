"""What every build depends on: this package, Python, the installed packages and the machine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpack.pipeline import installation
from onnxpack.pipeline.installation import digest_installation, read_installation


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "lib/onnxpack"
    (folder / "spec/__pycache__").mkdir(parents=True)
    (folder / "spec/load.py").write_text("A = 1\n")
    (folder.parent / "templates").mkdir()
    (folder.parent / "templates/app.j2").write_text("text")
    monkeypatch.setattr(installation, "PACKAGE", folder)
    digest_installation.cache_clear()
    yield folder
    digest_installation.cache_clear()  # other tests of this process have the real one


@pytest.mark.parametrize("place", ["spec/load.py", "spec/new.py", "bundle.so", "../templates/app.j2"])
def test_a_module_or_template_that_changes_is_another_installation(package: Path, place: str) -> None:
    before = read_installation()
    assert read_installation() == before
    (package / place).write_text("A = 2\n")
    assert read_installation() != before


def test_bytecode_and_other_files_beside_the_package_do_not_count(package: Path) -> None:
    before = read_installation()
    (package / "spec/__pycache__/load.pyc").write_text("compiled")
    (package.parent / "README.md").touch()
    assert read_installation() == before


def test_packages_python_and_machine_count(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {read_installation()}
    with monkeypatch.context() as patch:
        patch.setattr(installation, "list_installed", lambda: {"onnxruntime": "99.0"})
        found.add(read_installation())
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package))
        found.add(read_installation())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", f"{sys.version} of another day")
        found.add(read_installation())
    with monkeypatch.context() as patch:
        patch.setattr(installation, "detect_isas", lambda: frozenset({"none"}))
        found.add(read_installation())
    assert len(found) == 5


def test_a_process_digests_its_installation_once(package: Path) -> None:
    before = digest_installation()
    (package / "spec/load.py").write_text("A = 3\n")
    assert digest_installation() == before


def test_how_python_was_started_does_not_count(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, its workers and ``python -m`` begin their paths with other folders, and find the same packages."""
    before = read_installation()
    monkeypatch.setattr(sys, "path", [str(package.parent / "bin"), *sys.path])
    assert read_installation() == before
