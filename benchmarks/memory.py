"""Compares onnxruntime's ways to keep memory for models whose sizes vary, and writes the figures into docs/serving.md.

Run by `.venv/bin/python benchmarks/memory.py`. For each model and setting a process of its own answers requests of four
threads, whose sizes are drawn over the whole declared ranges; the speeds are of all settings in turn, in one process.
"""

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnxpack.timing import compute_paired_gain
from onnxpack.timing.models import time_side_by_side
from onnxpack.timing.probe import read_peak_rss
from onnxpack.timing.soak import read_rss

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made  # noqa: E402

PAGE = ROOT / "docs/serving.md"
CLIENTS = 4
REQUESTS = 3000
SOAK_SECONDS = 10.0
SPEED_SECONDS = 8.0
THREADS = 2


@dataclass(frozen=True)
class Setting:
    """One way to keep memory."""

    arena: bool
    patterns: bool
    prepacking: bool

    def open(self, model: Path) -> ort.InferenceSession:
        """Return a session of this setting."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena, options.enable_mem_pattern = self.arena, self.patterns
        options.add_session_config_entry("session.disable_prepacking", "0" if self.prepacking else "1")
        options.log_severity_level = 4
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


SETTINGS = [
    Setting(False, False, True),
    Setting(True, False, True),
    Setting(True, True, True),
    Setting(False, False, False),
    Setting(True, False, False),
]
AXES = {
    "iris forest": {"batch": (1, 8, 1024)},
    "transactions network": {"batch": (1, 8, 64), "seq": (1, 8, 512)},
    "CNN": {"batch": (1, 8, 64)},
}


def main() -> None:
    """Measure all models and settings, and write the table."""
    titles = (
        "model", "arena", "patterns", "prepacking", "speed, usual size", "speed, largest",
        "after a third, MB", "at the end, MB", "peak, MB",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    with tempfile.TemporaryDirectory(prefix="onnxpack-memory-") as folder:
        for name, model in make_models(Path(folder)).items():
            usual, largest = (compare_speed(model, AXES[name], index) for index in (1, 2))
            for index, setting in enumerate(SETTINGS):
                command = [sys.executable, __file__, str(model), name, str(index)]
                found = json.loads(subprocess.check_output(command, cwd=ROOT))
                words = [("on" if on else "off") for on in (setting.arena, setting.patterns, setting.prepacking)]
                memory = [f"{found[key] / 1e6:.0f}" for key in ("warm", "end", "peak")]
                cells = [name, *words, f"{usual[index]:.2f}", f"{largest[index]:.2f}", *memory]
                lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/memory.py", text))
    print(text)


def make_models(folder: Path) -> dict[str, Path]:
    """Return the models' files; two are exported from their specs."""
    made = {}
    for spec, name in (("iris", "iris forest"), ("transactions", "transactions network")):
        build = ["-m", "onnxpack", "build", f"specs/{spec}", "--until", "verify", "--output", str(folder)]
        subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
        made[name] = folder / spec / "cpu.verify/model.onnx"
    made["CNN"] = folder / "cnn.onnx"
    onnx.save(make_cnn(), made["CNN"])
    return made


def make_cnn() -> onnx.ModelProto:
    """Return a network of five convolutions on pictures of 64 x 64."""
    generator = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index, (before, after, stride) in enumerate(
        [(3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    ):
        values = generator.standard_normal((after, before, 3, 3)) / np.sqrt(9 * before)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{index}"))
        sizes = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [stride, stride]}
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], **sizes))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 64, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 128, 1, 1])
    graph = helper.make_graph(nodes, "cnn", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compare_speed(model: Path, axes: dict[str, tuple[int, int, int]], which: int) -> list[float]:
    """Return each setting's speed relative to the first at the least, usual or greatest sizes."""
    sessions = [setting.open(model) for setting in SETTINGS]
    inputs = make_inputs(sessions[0], {name: sizes[which] for name, sizes in axes.items()}, np.random.default_rng(0))
    works = {str(index): (lambda run=session.run: run(None, inputs)) for index, session in enumerate(sessions)}
    times = time_side_by_side(works, SPEED_SECONDS)
    return [compute_paired_gain(times["0"], times[name]) for name in works]


def soak(model: Path, axes: dict[str, tuple[int, int, int]], setting: Setting) -> dict[str, int]:
    """Answer requests of several threads; return resident bytes after a third and at the end, and the peak."""
    session, found, lock = setting.open(model), [], threading.Lock()
    end = time.monotonic() + SOAK_SECONDS

    def ask(seed: int) -> None:
        draws, values = random.Random(seed), np.random.default_rng(seed)
        for number in range(REQUESTS // CLIENTS):
            drawn = {name: draw_size(limits, number, draws) for name, limits in axes.items()}
            session.run(None, make_inputs(session, drawn, values))
            with lock:
                found.append(read_rss("self"))
            if time.monotonic() > end:
                break

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = int(statistics.median(found[len(found) * 2 // 3 :]))
    return {"warm": found[len(found) // 3], "end": last, "peak": read_peak_rss("self")}


def draw_size(limits: tuple[int, int, int], number: int, draws: random.Random) -> int:
    """Return the least, usual and greatest size first, then sizes whose logarithms are drawn uniformly."""
    if number < len(limits):
        return limits[number]
    least, _, greatest = limits
    return round(math.exp(draws.uniform(math.log(least), math.log(greatest))))


def make_inputs(session: ort.InferenceSession, sizes: dict[str, int], values: np.random.Generator) -> dict[str, Any]:
    """Return inputs of these sizes."""
    made = {}
    for info in session.get_inputs():
        shape = [sizes.get(size, size) for size in info.shape]
        floats = info.type == "tensor(float)"
        made[info.name] = values.random(shape, dtype=np.float32) if floats else values.integers(0, 9, shape)
    return made


if __name__ == "__main__":
    if sys.argv[1:]:
        path, title, place = sys.argv[1:]
        print(json.dumps(soak(Path(path), AXES[title], SETTINGS[int(place)])))
    else:
        main()
