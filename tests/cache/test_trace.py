"""A trace names what was read, holds while all of it is as it was, and no longer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import export_in_child, write_spec
from onnx_examples import WEIGHTS, external_model

from onnxpack.cache.changes import digest_listing
from onnxpack.cache.trace import Trace, digest_content, digest_module

TRACED = "onnxpack.cache.trace"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "data").mkdir(parents=True)
    (folder / "helper.py").write_text("WIDTH = 4\n")
    (folder / "data/a").touch()
    return folder


@pytest.fixture
def trace(root: Path) -> Trace:
    return Trace(
        files={"helper.py": digest_content(root / "helper.py"), "missing": digest_content(root / "missing")},
        folders={"data": digest_listing(root / "data"), "nowhere": digest_listing(root / "nowhere")},
        modules={"onnxpack.core.errors": digest_module("onnxpack.core.errors")},
        distributions={"numpy": __import__("numpy").__version__},
    )


def test_a_trace_holds_while_only_times_and_places_change(root: Path, trace: Trace) -> None:
    assert trace.holds(root)
    os.utime(root / "helper.py", (1, 1))
    moved = root.rename(root.with_name("moved"))
    assert trace.holds(moved)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file's content": lambda root: (root / "helper.py").write_text("WIDTH = 5\n"),
    "a file that went": lambda root: (root / "helper.py").unlink(),
    "a file that is a folder now": lambda root: ((root / "helper.py").unlink(), (root / "helper.py").mkdir()),
    "a file that was missing": lambda root: (root / "missing").touch(),
    "a file more in a listed folder": lambda root: (root / "data/b").touch(),
    "a file less in a listed folder": lambda root: (root / "data/a").unlink(),
    "a folder that was missing": lambda root: (root / "nowhere").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trace_does_not_hold_behind_a_change(root: Path, trace: Trace, change: str) -> None:
    CHANGES[change](root)
    assert not trace.holds(root)


def test_a_content_in_a_listed_folder_counts_only_if_it_was_read(root: Path, trace: Trace) -> None:
    (root / "data/a").write_text("more")
    assert trace.holds(root)


def test_a_trace_does_not_hold_behind_another_version(
    root: Path, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{TRACED}.find_version", lambda name: "99")
    assert not trace.holds(root)
    assert replace(trace, isolated=True).holds(root), "what is installed here does not change what is isolated"


def test_a_trace_does_not_hold_behind_another_source_of_this_package(
    root: Path, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{TRACED}.digest_module", lambda name: "changed")
    assert not trace.holds(root)
    assert not replace(trace, isolated=True).holds(root)


def test_a_modules_digest_is_of_its_source_whether_it_is_imported_or_not() -> None:
    package = Path(sys.modules["onnxpack"].__file__ or "").parent
    assert digest_module("onnxpack.core.errors") == digest_content(package / "core/errors.py")
    assert digest_module("onnxpack.worker") == digest_content(package / "worker/__init__.py")
    assert digest_module("onnxpack.no_such_module") == "absent"


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert digest_content(tmp_path / "pipe") == digest_content(tmp_path) == "special"
    assert digest_content(tmp_path / "missing") == "absent"


RECORD = """
import json, sys
from pathlib import Path
from onnxpack.cache.trace import Recorder
root = Path(sys.argv[1])
sys.prefix = sys.base_prefix = sys.argv[2]
recorder = Recorder(root, [root / "ignored"])
exec(sys.stdin.read())
trace = recorder.trace(isolated=True)
print(json.dumps([list(trace.files), list(trace.folders), list(trace.modules), list(trace.distributions)]))
"""


def record(root: Path, code: str, prefix: Path | None = None) -> list[list[str]]:
    """Return the files, folders, modules and distributions that a process noted which ran ``code``."""
    command = [sys.executable, "-c", RECORD, str(root), str(prefix or sys.prefix)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(command, input=code, capture_output=True, text=True, check=True, env=environment, cwd=root)
    found: list[list[str]] = json.loads(result.stdout)
    return found


def test_process_that_runs_models_neither_believes_nor_leaves_remembered_digests(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    (root / "large.bin").write_bytes(bytes(1000))
    code = "from onnxpack.cache import remembered\nremembered._LARGE, remembered._SETTLED_NS = 1, -(10**18)\n"
    files, *_ = record(root, f"{code}open(root / 'large.bin').close()")
    assert "large.bin" in files
    assert not (tmp_path / "store").exists()


READS = """
import numpy
sys.path.insert(0, str(root / "sub"))
import helper
open(root / "data.txt").close()
open(str(root / "sub/../data2.txt"), "rb").close()
open(b"data3.txt").close()
open(root / "written.txt", "w").close()
open(root / "written.txt").close()
open(root / "ignored/file").close()
open(sys.modules["numpy"].__file__).close()
open("/etc/passwd").close()
try:
    open(root / "missing.txt")
except OSError:
    pass
"""


@pytest.mark.parametrize("inside", [False, True], ids=["elsewhere", "below Python's prefix"])
def test_every_file_that_is_read_is_noted_and_no_other(root: Path, inside: bool) -> None:
    """Also where the project lies below Python's own prefix, as ``/usr/src/app`` does."""
    for folder in ("sub", "ignored"):
        (root / folder).mkdir()
    (root / "sub/helper.py").write_text("import other\n")
    (root / "sub/other.py").write_text("")
    for name in ("data.txt", "data2.txt", "data3.txt", "unread.txt", "ignored/file"):
        (root / name).touch()
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
    expected = ["data.txt", "data2.txt", "data3.txt", "missing.txt", "sub/helper.py", "sub/other.py"]
    for _ in range(2):  # the second time from the compiled files
        assert record(root, READS, root.parent if inside else None)[:2] == [expected, []]
    assert (root / "sub/__pycache__").is_dir()


def test_an_environment_inside_the_work_tree_is_not_the_works_own(root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv/module.py").touch()
    files, *_ = record(root, "open(root / '.venv/module.py').close()", root / ".venv")
    assert files == []


def test_an_environment_behind_a_link_is_not_the_works_own_by_either_name(root: Path, tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment/module.py").touch()
    (root / ".venv").symlink_to(tmp_path / "environment")
    code = "import os\nfor place in (root / '.venv', root.parent / 'environment'):\n"
    code += "    open(place / 'module.py').close()\n    os.listdir(place)"
    assert record(root, code, root / ".venv")[:2] == [[], []]


def test_what_a_user_installed_for_all_projects_is_not_the_works_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "base"))
    code = "import site\nplace = Path(site.getusersitepackages())\nplace.mkdir(parents=True)\n"
    files, *_ = record(root, f"{code}(place / 'module.py').touch()\nopen(place / 'module.py').close()\n")
    assert files == []
    files, *_ = record(root, "import site\nopen(Path(site.getusersitepackages(), 'module.py')).close()\n")
    assert files == []


def test_listed_folders_are_noted(root: Path) -> None:
    code = "import os\nos.listdir()\nlist(os.scandir('data'))\nlist((root / 'ignored').glob('*'))\nos.listdir('/etc')"
    assert record(root, code)[1] == [".", "data"]


def test_a_tree_that_is_removed_leaves_no_names(root: Path) -> None:
    """Its folders are opened by names relative to others, which would be taken for files of the work tree."""
    code = "import shutil, tempfile\nplace = Path(tempfile.mkdtemp())\n(place / 'a/data').mkdir(parents=True)\n"
    assert record(root, f"{code}shutil.rmtree(place)")[0] == []


def test_a_file_elsewhere_is_noted_with_its_whole_path(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").touch()
    os.utime(tmp_path / "elsewhere.txt", (1, 1))
    assert record(root, "open('../elsewhere.txt').close()")[0] == [str(tmp_path / "elsewhere.txt")]


def test_imported_modules_and_distributions_are_noted(root: Path) -> None:
    *_, modules, distributions = record(root, "import onnxpack.spec.load")
    assert {"onnxpack", "onnxpack.spec", "onnxpack.spec.load", "onnxpack.core.errors"} <= set(modules)
    assert "onnxpack.cli" not in modules
    assert "PyYAML" in distributions
    assert not {"onnxpack", "onnx", "torch"} & set(distributions)


ELSEWHERE = "open('data.txt').close(); import os; os.system('echo new > data.txt')"
CHANGING = {
    "written by the work": "open('data.txt').close(); open('data.txt', 'w').write('new')",
    "written by another process": ELSEWHERE,
    "with an old time": f"{ELSEWHERE}; os.utime('data.txt', (1, 1))",
}


@pytest.mark.parametrize("how", CHANGING)
def test_a_file_that_changed_while_it_was_read_is_refused(root: Path, how: str) -> None:
    (root / "data.txt").write_text("old")
    os.utime(root / "data.txt", (1, 1))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        record(root, "import time; time.sleep(0.05)\n" + CHANGING[how])
    assert "SourceError: 'data.txt' changed while it was read (run the build again)" in failed.value.stderr


MODEL = """
import torch
from parts import WIDTH

class Net(torch.nn.Module):
    def forward(self, x):
        return x * WIDTH
"""


def test_an_export_tells_the_helpers_and_the_data_that_it_read(tmp_path: Path) -> None:
    spec = tmp_path / "spec"
    spec.mkdir()
    (spec / "model.py").write_text(MODEL)
    (spec / "parts.py").write_text(
        "from pathlib import Path\n\nWIDTH = int((Path(__file__).parent / 'width.txt').read_text())\n"
    )
    (spec / "width.txt").write_text("3")
    (spec / "unread.py").touch()
    model = {"framework": "torch", "factory": "model.py:Net", "exporter": "torchscript"}
    made = export_in_child(write_spec(spec, model), tmp_path / "out")
    assert _inside(made.trace) == ["model.py", "parts.py", "width.txt"]
    assert "torch" in made.trace.distributions


def test_external_data_counts_by_the_request_or_the_trace(tmp_path: Path) -> None:
    """The runtime and onnx read it natively, where no hook of Python's sees it."""
    spec = tmp_path / "spec"
    spec.mkdir()
    onnx.save(external_model(location="w.data"), spec / "m.onnx")
    (spec / "w.data").write_bytes(WEIGHTS.tobytes())
    made = export_in_child(write_spec(spec, {"framework": "onnx", "path": "m.onnx"}), tmp_path / "out")
    assert _inside(made.trace) == ["m.onnx", "w.data"]


def _inside(trace: Trace) -> list[Any]:
    return [name for name in trace.files if not Path(name).is_absolute()]
