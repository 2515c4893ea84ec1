"""What a model's code does to its process and around it ends with the build: one error, exit status 3, nothing left.

Each attack is the metric of a real build, which only has to score again. Without a sandbox code is as mighty as its
user; what is promised is that no such attack takes the build down, hides the cause, or outlives it.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import RELU, make_model
from told import Told

from onnxpack.cache.store import Store
from onnxpack.cache.trace import Trace
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import OnnxpackError, Problem, SourceError
from onnxpack.data.test_inputs import write_arrays
from onnxpack.download.local import Bounds
from onnxpack.download.task import FetchFile
from onnxpack.pipeline.report import read_output_report
from onnxpack.pipeline.runner import Runner
from onnxpack.spec.load import load
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.evaluate import ScoreSource
from onnxpack.worker.call import ANSWER, Answer, Setting, call
from onnxpack.worker.codec import encode
from onnxpack.worker.process import Ended as EndedProcess

SPEC = """\
onnxpack: 1
name: held
model: {framework: onnx, path: model.onnx}
inputs:
  x: {dtype: float32, shape: [n, 4]}
dynamic_axes: {n: [1, 8]}
evaluation: {data: "data.py:data", metric: "score.py:metric"}
"""
DATA = """
import numpy

def data():
    return {"x": numpy.ones((8, 4), "float32")}
"""
CODE = """
import os, resource, signal, sys, time
from pathlib import Path
from onnxpack.worker.codec import encode

SCRATCH, OUT = Path(sys.argv[1]), Path(__file__).parent / "out"

def metric(outputs, rows):
    print("the metric begins", flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a build ended, what it printed, and the most memory that it or a child of it had, in MB."""

    code: int
    out: str
    err: str
    peak: float


# A process counts as its own what the one that started it had: so a small one starts the build.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


@dataclass(frozen=True)
class Bench:
    """A project whose model is exported and verified, so that a build has only to score it."""

    folder: Path

    def write(self, body: str) -> None:
        """Write a metric with this body."""
        lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
        (self.folder / "score.py").write_text(f"{CODE}{lines}    return 1.0\n")

    def build(self, spec: str = "spec.yaml", **variables: str) -> Ended:
        """Build as a user does."""
        environment = os.environ | {"ONNXPACK_CACHE": str(self.folder / "store")} | variables
        out, err, peak = (self.folder / name for name in ("stdout", "stderr", "peak"))
        build = ["-m", "onnxpack", "build", spec, "--until", "optimize", "--json"]
        command = [sys.executable, "-c", MEASURE, peak, sys.executable, *build]
        with out.open("wb") as first, err.open("wb") as second:
            ended = subprocess.run(command, cwd=self.folder, env=environment, stdout=first, stderr=second)
        return Ended(ended.returncode, out.read_text(), err.read_text(), int(peak.read_text()) / 1024)

    def score(self) -> Problem:
        """Run the task that applies the metric, as a build does, and return what its error says."""
        file = load(self.folder / "spec.yaml")
        outputs = Artifact.of(self.folder / "outputs.npz")
        runner = Runner(Store(self.folder / "store"), Told(), file.root)
        with pytest.raises(SourceError) as failed:
            runner.run(ScoreSource(SpecPart.of(file, "evaluation"), outputs))
        (problem,) = failed.value.problems
        return problem

    def require_nothing_left(self) -> None:
        """Look for scratch folders, and for processes that work in the store, as a task's does and what it forks."""
        assert list((self.folder / "store").glob(".onnxpack-*")) == []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue  # it has just ended
            assert str(self.folder / "store").encode() not in words


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("held")
    (folder / "out").mkdir()
    onnx.save(make_model(RELU), folder / "model.onnx")
    (folder / "data.py").write_text(DATA)
    (folder / "spec.yaml").write_text(SPEC)
    write_arrays(folder / "outputs.npz", {"y": np.ones((8, 4), np.float32)})
    return Bench(folder)


FORK_DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (OUT / "daemon").touch()
    time.sleep(600)
os.wait()
while not (OUT / "daemon").exists():
    time.sleep(0.01)
"""
ATTACKS: dict[str, tuple[str, str]] = {
    "300 MB printed": (
        "for _ in range(300): os.write(1, b'x' * 999_999 + b'\\n')\nraise ValueError('after the flood')",
        "raised ValueError: after the flood",
    ),
    "an exception of 100 MB": ("raise ValueError('x ' * 50_000_000)", "characters left out"),
    "half a surrogate pair": ("raise ValueError('a \\udc80 b')", r"raised ValueError: a \udc80 b"),
    "an exception without text": (
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError('mute')\nraise Mute",
        "RuntimeError: mute",
    ),
    "a circle of causes": (
        "a, b = ValueError('a'), KeyError()\na.__cause__ = b\nb.__cause__ = a\nraise a", "raised ValueError: a"
    ),
    "no kind of Exception": ("raise GeneratorExit", "the process of stage 'evaluate' died: exit status 1"),
    "an exit that looks good": ("sys.exit(0)", "the process of stage 'evaluate' died: exit status 0"),
    "an end without a word": ("os.closerange(0, 100)\nos._exit(0)", "died: exit status 0"),
    "too little memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\nbytearray(2**40)",
        "raised MemoryError",
    ),
    "a segmentation fault": ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    "its supervisor killed": ("os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)", "killed by SIGKILL"),
    "its supervisor ended": ("os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)", "died: exit status 143"),
    "a million problems": (
        "forged = encode({'exit_code': 3, 'problems': [{'message': 'x'}] * 1_000_000})\n"
        "(SCRATCH / 'answer').write_bytes(forged)\nos._exit(0)",
        "the answer of stage 'evaluate' cannot be used: Expected `array` of length <= 1000",
    ),
    "its folder moved": (
        "(OUT / 'victim').mkdir()\n(OUT / 'victim/file').touch()\n"
        "SCRATCH.rename(OUT / 'moved')\nSCRATCH.symlink_to(OUT / 'victim')",
        "moved its folder away",
    ),
    "its folder removed": ("import shutil\nshutil.rmtree(SCRATCH)", "the process of stage 'evaluate' died"),
    "a pipe among its results": ("os.mkfifo(SCRATCH / 'out/files/pipe')", "left 'pipe' among its results"),
    "an endless loop": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "stage 'evaluate' took more than 3 s",
    ),
    "memory without end": (
        "kept = []\nwhile True:\n    kept.append(bytes(1_000_000))\n    time.sleep(0.01)",
        "stage 'evaluate' took more than 3 s",
    ),
    "a daemon": (f"{FORK_DAEMON}\nraise ValueError('as planned')", "raised ValueError: as planned"),
    "128 processes": (
        "mine = os.getpid()\nfor _ in range(7): os.fork()\n"
        "if os.getpid() != mine:\n    os.setsid()\n    time.sleep(600)\nraise ValueError('as planned')",
        "raised ValueError: as planned",
    ),
}  # fmt: skip
"""The body of a metric, and what the error says."""


ENDLESS = ("an endless loop", "memory without end")
BUILT = ("300 MB printed", "an exception of 100 MB", "a million problems", "its folder moved")
"""What a whole build is tried with: they are about the process that waits, or about what outlives it."""


@pytest.mark.case("M5")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_of_a_metric_is_an_error_with_its_cause_and_leaves_nothing(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch, count_attacks: Callable[[int], None]
) -> None:
    body, words = ATTACKS[name]
    if name in ENDLESS:
        monkeypatch.setenv("ONNXPACK_TASK_TIMEOUT", "3")
    bench.write(body)
    problem = bench.score()
    assert words in f"{problem.message}\n{problem.detail}"
    assert len(f"{problem.message}{problem.detail}") < 50_000
    bench.require_nothing_left()
    if name == "its folder moved":
        assert (bench.folder / "out/victim/file").exists(), "a link is removed, not what it leads to"
    count_attacks(1)


@pytest.mark.case("M5")
@pytest.mark.parametrize("name", BUILT)
def test_an_attack_on_a_build_ends_it_with_3_and_few_words(
    bench: Bench, name: str, count_attacks: Callable[[int], None]
) -> None:
    shutil.rmtree(bench.folder / "out")
    (bench.folder / "out").mkdir()
    body, words = ATTACKS[name]
    bench.write(body)
    ended = bench.build()
    assert ended.code == 3, ended.err
    assert words in ended.err
    assert len(ended.err) < 20_000
    assert len(ended.out) < 100_000
    assert ended.peak < 1000
    assert read_output_report(bench.folder / "dist/held/cpu.optimize")["status"] == "failed"
    bench.require_nothing_left()
    count_attacks(1)


def test_a_daemon_of_a_build_that_passes_is_gone(bench: Bench, count_attacks: Callable[[int], None]) -> None:
    bench.write(FORK_DAEMON)
    ended = bench.build()
    assert ended.code == 0, ended.err
    bench.require_nothing_left()
    count_attacks(1)


def test_a_chain_of_processes_that_always_goes_on_in_another_one_is_ended(
    bench: Bench, count_attacks: Callable[[int], None]
) -> None:
    chain = "if os.fork() == 0:\n    os.setsid()\n    while os.fork() == 0: pass\n    os._exit(0)\n"
    bench.write(f"{chain}time.sleep(0.3)\nraise ValueError('as planned')")
    assert "as planned" in bench.score().message
    bench.require_nothing_left()
    count_attacks(1)


@pytest.mark.case("M5")
def test_a_graph_with_an_endless_loop_is_given_up(bench: Bench, count_attacks: Callable[[int], None]) -> None:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["sum", "sum"], ["sum_out"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("sum", TensorProto.FLOAT, None)],
        [info("still", TensorProto.BOOL, []), info("sum_out", TensorProto.FLOAT, None)],
    )
    times = helper.make_tensor("times", TensorProto.INT64, [], [2**63 - 1])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)],
        "endless",
        [info("x", TensorProto.FLOAT, ["n", 4])],
        [info("y", TensorProto.FLOAT, ["n", 4])],
        [times],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, bench.folder / "endless.onnx")
    spec = "".join(line for line in SPEC.splitlines(True) if "evaluation" not in line)
    (bench.folder / "endless.yaml").write_text(spec.replace("model.onnx", "endless.onnx").replace("held", "endless"))
    ended = bench.build("endless.yaml", ONNXPACK_TASK_TIMEOUT="3")
    assert ended.code == 3, ended.err
    assert "stage 'export' took more than 3 s" in ended.err
    bench.require_nothing_left()
    count_attacks(1)


@contextmanager
def _answering(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Iterator[None]:
    """Let a child end at once that leaves these bytes as its answer."""

    def end(name: str, setting: Setting, seen: Any, **_: Any) -> EndedProcess:
        (setting.scratch / ANSWER).write_bytes(data)
        return EndedProcess(0, "")

    with monkeypatch.context() as patched:
        patched.setattr("onnxpack.worker.call.run_process", end)
        yield


def test_a_random_answer_of_a_child_is_a_typed_error_or_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int, count_attacks: Callable[[int], None]
) -> None:
    chance = random.Random(5)
    good = [
        encode(Answer(encode(5), Trace({"a": "b"}, {"c": "d"}), ("numpy",))),
        encode({"exit_code": 3, "problems": [{"message": "m", "hint": "h", "where": {"file": "f", "line": 3}}]}),
        encode({"crash": "ValueError: x", "stack": "the stack"}),
    ]
    task = FetchFile("https://example.com/m", "0" * 64, Path("a"), Path("b"), Bounds((), 1))
    refused = 0
    attacks = 150 * factor
    for _ in range(attacks):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            how = chance.randrange(4)
            if how == 0:
                data[at] = chance.randrange(256)
            elif how == 1:
                del data[at : at + chance.randrange(1, 20)]
            elif how == 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 8))
            else:
                data[at:at] = data[: chance.randrange(len(data))]
            data = data or bytearray(b"\xc0")
        with _answering(monkeypatch, bytes(data)):
            try:
                call(task, Setting(tmp_path))
            except OnnxpackError as error:
                refused += error.exit_code == 3
    assert refused > attacks // 2
    count_attacks(attacks)
