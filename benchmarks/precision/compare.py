#!/usr/bin/env python3
"""Every precision of three models, beside other ways to the same end, and writes what came out into docs/precision.md.

    python benchmarks/precision/compare.py [--olive PYTHON] [--optimum PYTHON]

``PYTHON`` is the interpreter of an environment that has olive-ai, or optimum-onnx. All files of one model are timed in
one process, in turn, so that their ratios mean something; the absolute times are those of the machine at hand.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np

from onnxpack.cache.store import Store, find_default_root
from onnxpack.cli.progress import PlainProgress
from onnxpack.core.errors import OnnxpackError
from onnxpack.core.values import Reference
from onnxpack.evaluation.evaluate import score_model
from onnxpack.graph.isa import detect_isas
from onnxpack.image.docker import DockerEngine
from onnxpack.parity.compare import Tolerance, verify_model
from onnxpack.pipeline.chain import chain, walk
from onnxpack.pipeline.measure import choose_timed_cases
from onnxpack.pipeline.optimize import optimize
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.precision import calibrate, conversion, reduce_precision
from onnxpack.pipeline.run import Build, Product
from onnxpack.precision.candidates import list_candidates
from onnxpack.spec.load import load
from onnxpack.timing.models import measure

Files = dict[tuple[str, str], Path | None]

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "precision.md"
MARK = "<!-- figures, by benchmarks/precision/compare.py -->"
MODELS = {
    "digits": "the CNN of `specs/digits`, batch 8",
    "resnet18": "ResNet-18 on 32 x 32 pictures, batch 1",
    "encoder": "a vision transformer of four layers, batch 1",
}
HEAD = ("precision", "made by", "bytes", "p50", "speed", "throughput", "SQNR", "argmax", "accuracy", "peak memory")


def main() -> None:
    """Builds, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--olive", type=Path)
    parser.add_argument("--optimum", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each file")
    options = parser.parse_args()
    if not (HERE / "data" / "encoder.safetensors").exists():
        subprocess.run([sys.executable, str(HERE / "train.py")], check=True, cwd=HERE)
    with tempfile.TemporaryDirectory() as scratch:
        parts = [section(name, Path(scratch) / name, options) for name in MODELS]
    written = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(f"{written}{MARK}\n\n{about(options)}\n\n" + "\n".join(parts))


def about(options: argparse.Namespace) -> str:
    """The machine and the versions."""
    known = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    words = {key.strip(): value.strip() for key, value in known.items()}
    cpu = words.get("model name", platform.machine())
    kinds = [kind for kind in sorted(detect_isas()) if kind.startswith(("a", "n"))]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "onnx")]
    for name, python in (("olive-ai", options.olive), ("optimum-onnx", options.optimum)):
        if python:
            ask = f"import importlib.metadata as m; print(m.version('{name}'))"
            versions.append(
                f"{name} {subprocess.run([python, '-c', ask], capture_output=True, text=True).stdout.strip()}"
            )
    return (
        f"Measured on {os.cpu_count()} shared cores of an {cpu} ({', '.join(kinds)}), with {', '.join(versions)}.\n"
        "`speed` and `throughput` are medians of ratios to float32 in the same run, throughput at the largest batch.\n"
        "SQNR and argmax are the worst over all sizes; accuracy is of 450 pictures that were held back."
    )


def section(name: str, folder: Path, options: argparse.Namespace) -> str:
    """One model's table."""
    folder.mkdir()
    file = load(HERE / f"{name}.yaml")
    run = Build(Plan(file, "cpu", folder), Store(find_default_root()), DockerEngine(), PlainProgress())
    plain = walk(run, chain(run.plan, "verify"), Product())
    best_one = walk(run, chain(run.plan, "optimize"), Product())
    assert plain.model
    assert plain.exported
    assert best_one.model
    chosen = next(candidate for candidate in best_one.candidates if candidate.chosen)
    kinds = ("float32", *list_candidates("cpu", file.spec.calibration is not None))
    files: Files = {("onnxpack", kind): finished(run, kind, plain) for kind in kinds}
    files["onnxpack", chosen.precision] = best_one.model.path
    base = plain.model.path
    others = (("by hand", by_hand(base, name, folder)), *peers(base, name, folder, options))
    files |= {(maker, kind): path for maker, found in others for kind, path in found.items()}
    rows = measured(run, plain.exported.served, files, options.seconds)
    lines = [f"## {name}: {MODELS[name]}", "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for (maker, kind), path in files.items():
        bold = "**" if (maker, kind) == ("onnxpack", chosen.precision) else ""
        cells = rows.get((maker, kind), ["does not run here"])
        lines.append(f"| {bold}{kind}{bold} | {maker} | {path.stat().st_size if path else 0:,} | {' | '.join(cells)} |")
    ours = {kind: rows[maker, kind][1] for maker, kind in rows if maker == "onnxpack"}
    best = max(ours, key=lambda kind: float(ours[kind].rstrip("x")))
    words = f"`auto` chose **{chosen.precision}**: {ours[chosen.precision]}; the fastest was {best}: {ours[best]}."
    return "\n".join([*lines, "", words, ""])


def finished(run: Build, precision: str, plain: Product) -> Path | None:
    """What a build makes of the verified model at a precision, whether it would ship or not."""
    model = plain.model
    assert model
    assert plain.exported
    try:
        if precision != "float32":
            model = reduce_precision(
                run, model, calibrate(run, model, conversion(run, precision, plain.exported))
            ).model
        asked = run.plan.spec_target.optimize != "none"
        return (optimize(run, model) if asked else model).path
    except OnnxpackError as error:
        print(f"{precision}: {error}", file=sys.stderr)
        return None


def by_hand(base: Path, name: str, folder: Path) -> dict[str, Path | None]:
    """Onnxruntime's two quantizers, called with nothing but what they must have."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            rows = np.load(HERE / "data" / f"{name}-calibration.npz")["image"]
            self.batches = iter([{"image": rows[at : at + 8]} for at in range(0, len(rows), 8)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    found: dict[str, Path | None] = {"dynamic": folder / "hand-dynamic.onnx", "static": folder / "hand-static.onnx"}
    quantize_dynamic(base, found["dynamic"])
    quantize_static(base, found["static"], Reader())
    return found


def peers(base: Path, name: str, folder: Path, options: argparse.Namespace) -> list[tuple[str, dict[str, Path | None]]]:
    """What others make of the same file, each in its own environment, by its own defaults."""
    found = []
    data = HERE / "data" / f"{name}-calibration.npz"
    for maker, python in (("Olive", options.olive), ("Optimum", options.optimum)):
        if python is None:
            continue
        made: dict[str, Path | None] = {}
        for kind in ("dynamic", "static"):
            output = folder / f"{maker}-{kind}"
            script = str(HERE / f"{maker.lower()}_quantize.py")
            done = subprocess.run(
                [python, script, kind, base, data, output], capture_output=True, text=True, check=False, cwd=folder
            )
            files = sorted(output.rglob("*.onnx"))
            made[kind] = files[0] if files else None
            if not files:
                print(f"{maker} {kind}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        found.append((maker, made))
    return found


def measured(run: Build, reference: Reference, files: Files, seconds: float) -> dict[tuple[str, str], list[str]]:
    """The cells of each file that runs."""
    cells: dict[tuple[str, str], list[str]] = {}
    able: dict[str, Path] = {}
    for key, path in files.items():
        if path is None:
            continue
        try:
            rows = verify_model(path, reference, Tolerance.of("int4-weights"))
            score = score_model(run.plan.file, path).value
        except OnnxpackError as error:
            print(f"{key}: {error}", file=sys.stderr)
            continue
        noise = [row.sqnr_db for row in rows if row.sqnr_db is not None]
        argmax = min((row.argmax_agreement for row in rows if row.argmax_agreement is not None), default=1.0)
        cells[key] = [f"{min(noise):.1f} dB" if noise else "-", f"{argmax:.1%}", f"{score:.4f}"]
        able["/".join(key)] = path
    opt, largest = (reference.folder / f"{case}.inputs.npz" for case in choose_timed_cases(run, reference))
    speeds = measure(able, opt, largest, seconds * len(able), None)
    found = {}
    for key, words in cells.items():
        speed = speeds["/".join(key)]
        found[key] = [
            f"{speed.latency_p50_seconds * 1000:.3f} ms",
            f"{speed.speedup:.2f}x",
            f"{speed.throughput_gain or 0:.2f}x",
            *words,
            f"{speed.peak_rss_bytes / 1e6:.0f} MB",
        ]
    return found


if __name__ == "__main__":
    main()
