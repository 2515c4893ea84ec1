"""Whatever the clock does, and whatever changes while it is read: no result is a stale one."""

import hashlib
import importlib.util
import os
import py_compile
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clock_tasks import ReadNatively, RunCode
from command_line import SMALL
from disk_tools import TESTS, Project, make_project, shipped
from told import Told

import onnxpack.cache.remembered
from onnxpack.cache.remembered import digest_large_file
from onnxpack.cache.store import Store
from onnxpack.core.errors import SourceError
from onnxpack.pipeline.runner import Runner
from onnxpack.spec.load import load
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Task

Work = Callable[[Task[Any]], str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    )
    return folder


@pytest.fixture
def work(root: Path, tmp_path: Path) -> Work:
    """Run a task in a child, or take its result from the store."""
    return lambda task: Runner(Store(tmp_path / "store"), Told(), root).run(task)


def settle(folder: Path) -> None:
    """Give all files a time that is not the present one; that of their change stays."""
    for path in folder.rglob("*"):
        os.utime(path, (1000, 1000))
    time.sleep(0.02)  # the clock of files is a few milliseconds behind


# ------------------------------------------------------------------------------------------ code and its compiled form

SHAPES = {
    "module": ("helper.py", "import helper\nresult = helper.VALUE"),
    "package": ("helper/__init__.py", "import helper\nresult = helper.VALUE"),
    "module of a package": ("parts/helper.py", "from parts import helper\nresult = helper.VALUE"),
    "module imported late": ("helper.py", "def late():\n    import helper\n    return helper.VALUE\nresult = late()"),
}  # fmt: skip
MODES = {
    "time": py_compile.PycInvalidationMode.TIMESTAMP,
    "unchecked hash": py_compile.PycInvalidationMode.UNCHECKED_HASH,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_code_of_a_module_that_was_edited_within_a_second_is_not_believed(
    root: Path, work: Work, shape: str, mode: str, count_attacks: Callable[[int], None]
) -> None:
    name, code = SHAPES[shape]
    module = root / name
    module.parent.mkdir(exist_ok=True)
    (root / "code.py").write_text(code)
    module.write_text("VALUE = 1\n")
    os.utime(module, (1000, 1000))
    py_compile.compile(str(module), invalidation_mode=MODES[mode], doraise=True)
    module.write_text("VALUE = 2\n")  # as long as before, in the same second
    settle(root)
    assert work(RunCode()) == "2"
    count_attacks(1)


def test_compiled_code_that_lies_elsewhere_is_not_believed(
    root: Path, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    (root / "code.py").write_text("import helper\nresult = helper.VALUE")
    (root / "helper.py").write_text("VALUE = 1\n")
    settle(root)
    write = [sys.executable, "-c", "import helper"]
    subprocess.run(write, check=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""})
    assert list((tmp_path / "compiled").rglob("helper.*.pyc"))
    assert work(RunCode()) == "1"
    (root / "helper.py").write_text("VALUE = 2\n")
    settle(root)
    assert work(RunCode()) == "2"
    count_attacks(1)


def test_compiled_module_that_changed_is_loaded_again(
    root: Path, work: Work, count_attacks: Callable[[int], None]
) -> None:
    """It is opened by the linker, and not by Python."""
    found = importlib.util.find_spec("xxlimited")
    if found is None or not found.origin or not found.origin.endswith(".so"):
        pytest.skip("this Python has no compiled module to copy")
    (root / "code.py").write_text("import xxlimited, pathlib\nresult = pathlib.os.path.getsize(xxlimited.__file__)")
    module = Path(shutil.copy(found.origin, root))
    settle(root)
    first = work(RunCode())
    with module.open("ab") as stream:
        stream.write(b"more")
    settle(root)
    assert int(work(RunCode())) == int(first) + 4
    count_attacks(1)


# ------------------------------------------------------------------------------------- what changes while it is read

MEANWHILE = {
    "in place": "cp new data",
    "in place, its time kept": "touch -r data kept; cp new data; touch -r kept data",
    "by another file": "cp new other; mv other data",
    "by another file of the same time": "cp new other; touch -r data other; mv other data",
    "with a time of the future": "cp new data; touch -d 2101-01-01 data",
    "with a time before Unix": "cp new data; touch -d 1931-01-01 data",
    "and back": "cp data kept; cp new data; cp kept data",
    "by nothing": "mv data kept",
}
READ = "import os\nfirst = open('data').read()\nos.system({!r})\nresult = first"


@pytest.mark.parametrize("how", MEANWHILE)
def test_file_that_changes_after_it_was_read_gives_no_entry_of_its_new_content(
    root: Path, work: Work, how: str, count_attacks: Callable[[int], None]
) -> None:
    (root / "data").write_text("old")
    (root / "new").write_text("new")
    (root / "code.py").write_text(READ.format(MEANWHILE[how]))
    settle(root)
    with pytest.raises(SourceError, match="'data' changed while it was read"):
        work(RunCode())
    (root / "data").write_text("new")
    (root / "code.py").write_text(READ.format("true"))
    settle(root)
    assert work(RunCode()) == "new"
    count_attacks(1)


SET_BACK = """
import sys, time
from pathlib import Path
ahead = int(sys.argv[2]) * 10**9
clock = time.clock_gettime_ns
time.clock_gettime_ns = lambda which: clock(which) + ahead
from onnxpack.cache.trace import Recorder
recorder = Recorder(Path(sys.argv[1]), [])
time.clock_gettime_ns = clock
open("data").close()
import os
import re
os.system(sys.argv[3])
recorder.trace(isolated=True)
"""


@pytest.mark.parametrize("ahead", [-(10**9), -3600, 2, 3600, 10**9])
@pytest.mark.parametrize("how", ["cp new data", "touch -r data kept; cp new data; touch -r kept data"])
def test_file_that_changes_while_the_clock_is_set_is_seen_to_change(
    root: Path, ahead: int, how: str, count_attacks: Callable[[int], None]
) -> None:
    (root / "data").write_text("old")
    (root / "new").write_text("new")
    settle(root)
    ended = subprocess.run(
        [sys.executable, "-c", SET_BACK, str(root), str(ahead), how],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "SourceError: 'data' changed while it was read" in ended.stderr
    count_attacks(1)


LISTINGS = {
    "a file more": ("sorted(os.listdir('parts'))", "touch parts/b"),
    "a file less": ("sorted(os.listdir('parts'))", "rm parts/a"),
    "a file renamed": ("sorted(map(str, __import__('pathlib').Path('parts').glob('*')))", "mv parts/a parts/c"),
    "another folder in its place": ("sorted(os.listdir('parts'))", "mv parts gone; mkdir parts; touch parts/z"),
    "no folder in its place": ("os.path.isdir('parts') and sorted(os.listdir('parts'))", "mv parts gone"),
    "a module that was missing": ("importable('fast')", "touch fast.py"),
    "a package that was missing": ("importable('fast')", "mkdir fast; touch fast/__init__.py"),
}
LIST = """
import os
import re
def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
result = {}
if not os.path.exists('changed'):
    os.system({!r})
"""


@pytest.mark.parametrize("how", LISTINGS)
def test_folder_that_changes_after_it_was_listed_gives_no_entry_of_its_new_names(
    root: Path, work: Work, how: str, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    listed, change = LISTINGS[how]
    (root / "parts").mkdir()
    (root / "parts/a").touch()
    # Whether it is to change is not asked of Python, which would be told of it.
    code = LIST.format(listed, f"test -e {tmp_path}/changed || (touch {tmp_path}/changed; {change})")
    (root / "code.py").write_text(code)
    settle(root)
    before = work(RunCode())
    now = work(RunCode())
    assert now != before, "the names are others now"
    assert work(RunCode()) == now
    count_attacks(1)


def test_folder_that_the_work_itself_writes_into_is_no_change(root: Path, work: Work) -> None:
    (root / "code.py").write_text("import os\nos.listdir('.')\nopen('made', 'a').write('x')\nresult = 1\n")
    settle(root)
    for _ in range(3):
        work(RunCode())
    assert (root / "made").read_text() == "xx", "once for the names without it, once for those with it"


@pytest.mark.parametrize("back", [False, True], ids=["to stay", "and back"])
def test_model_that_changes_before_a_library_reads_it_gives_no_entry_of_its_old_content(
    root: Path, work: Work, back: bool, count_attacks: Callable[[int], None]
) -> None:
    (root / "spec.yaml").write_text(SMALL)
    (root / "model.onnx").write_text("old")
    (root / "new").write_text("new")
    (root / "meanwhile.sh").write_text("test -e changed || { touch changed; cp new model.onnx; }")
    settle(root)

    def read() -> str:
        return work(ReadNatively(SpecPart.of(load(root / "spec.yaml"), "model")))

    with pytest.raises(SourceError, match=r"'model\.onnx' changed while it was read"):
        read()
    (root / "model.onnx").write_text("old" if back else "new")
    settle(root)
    assert read() == ("old" if back else "new")
    count_attacks(1)


# --------------------------------------------------------------------------------------------------- the clock itself


def test_digest_of_a_large_file_is_right_whatever_the_clock_and_its_times_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(onnxpack.cache.remembered, "_LARGE", 1)
    chance = random.Random(8)
    file, real = tmp_path / "weights", time.time_ns
    file.write_bytes(bytes(10))
    jumps = (0, 0, 10, 60, 10**9, -60, -(10**9))
    attacks = 100 * factor
    for number in range(attacks):
        for _ in range(chance.randrange(3)):
            act = chance.choice(("write", "replace", "time", "wait"))
            if act == "write":
                kept = file.stat()
                file.write_bytes(chance.randbytes(10))
                if chance.random() < 0.5:
                    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
            elif act == "replace":
                (tmp_path / "other").write_bytes(chance.randbytes(10))
                os.utime(tmp_path / "other", ns=(0, file.stat().st_mtime_ns))
                (tmp_path / "other").replace(file)
            elif act == "time":
                os.utime(file, (0, chance.choice((0, -(10**9), 2**32, real() // 10**9))))
            time.sleep(0.006)  # more than a tick of the clock of files
        jump = chance.choice(jumps) * 10**9
        monkeypatch.setattr("onnxpack.cache.remembered.time.time_ns", lambda jump=jump: real() + jump)
        assert digest_large_file(file) == hashlib.sha256(file.read_bytes()).hexdigest(), number
    count_attacks(attacks)


@pytest.mark.parametrize(
    ("at", "stays"),
    [(-30 * 86400, False), (-3600, True), (0, True), (3600, True), (30 * 86400, False), (10**9, False)],
)
def test_partial_download_is_swept_by_its_distance_from_now_in_both_directions(
    tmp_path: Path, at: int, stays: bool, count_attacks: Callable[[int], None]
) -> None:
    store = Store(tmp_path / "store")
    partial = store.partial("key")
    partial.touch()
    os.utime(partial, (time.time() + at,) * 2)
    store.sweep()
    assert partial.exists() == stays
    count_attacks(1)


SITE = """
import os, time
offset, step = map(float, os.environ["CLOCK"].split())
real, real_ns, calls = time.time, time.time_ns, [0]
def now():
    calls[0] += 1
    return max(real() + offset + step * calls[0], 0.0)
time.time, time.time_ns = now, lambda: int(now() * 1e9)
local, utc = time.localtime, time.gmtime
time.localtime = lambda seconds=None: local(now() if seconds is None else seconds)
time.gmtime = lambda seconds=None: utc(now() if seconds is None else seconds)
"""
CLOCKS = {"1970": "-9e9 0", "2107": "2.6e9 0", "running back": "0 -3600"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def expected(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("expected")
    ended = project.build(output, ONNXPACK_CACHE=output / "store")
    assert ended.code == 0, ended.err
    return shipped(output)


@pytest.mark.parametrize("clock", CLOCKS)
def test_build_on_a_machine_whose_clock_is_wrong_gives_the_same_bytes(
    project: Project, expected: dict[str, str], tmp_path: Path, clock: str, count_attacks: Callable[[int], None]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    wrong = {"CLOCK": CLOCKS[clock], "PYTHONPATH": path, "ONNXPACK_PASS_ENV": "CLOCK"}
    ended = project.build(tmp_path / "dist", ONNXPACK_CACHE=tmp_path / "store", **wrong)
    assert ended.code == 0, ended.err
    assert shipped(tmp_path / "dist") == expected
    again = project.build(tmp_path / "dist", ONNXPACK_CACHE=tmp_path / "store")
    assert re.search(r"export +unchanged", again.err), "what was made then counts now"
    assert shipped(tmp_path / "dist") == expected
    count_attacks(1)


def test_build_of_files_with_impossible_times_gives_the_same_bytes(
    expected: dict[str, str], tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    project = make_project(tmp_path / "own")
    times = (0, -1, 2**31, 2**32 + 1, -(2**31))
    for number, path in enumerate(sorted(project.around.rglob("*"))):
        os.utime(path, (times[number % len(times)],) * 2)
    ended = project.build(tmp_path / "dist")
    assert ended.code == 0, ended.err
    assert shipped(tmp_path / "dist") == expected
    count_attacks(1)
