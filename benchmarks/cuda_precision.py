#!/usr/bin/env python3
"""Proves the reduced precisions of CUDA on a machine that has a GPU, and writes benchmarks/cuda_precision.md.

    python benchmarks/cuda_precision.py [--python PYTHON] [--provider CPUExecutionProvider]

The models are those of ``benchmarks/precision``, made for ``device: cuda``, which takes no GPU. Then each file is
loaded by onnxruntime-gpu (in PYTHON's environment, or one made with uv), where it must run on CUDA alone, answer as the
source model did, and is timed in turn with float32. ``--provider`` tries the script itself where no GPU is.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NETS = ROOT / "benchmarks/precision"
PAGE = ROOT / "benchmarks/cuda_precision.md"
PRECISIONS = ("float32", "float16", "bfloat16")
SECONDS = 10.0


def main() -> None:
    """Makes, runs, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="of an environment with onnxruntime-gpu")
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--prove", help=argparse.SUPPRESS)  # what runs in that environment
    options = parser.parse_args()
    if options.prove:
        print(json.dumps(prove(json.loads(options.prove), options.provider)))
        return
    if not (NETS / "data/encoder.safetensors").exists():
        subprocess.run([sys.executable, "train.py"], check=True, cwd=NETS)
    with tempfile.TemporaryDirectory(prefix="onnxpack-cuda-") as name:
        folder = Path(name)
        python = options.python or environment(folder / "venv")
        tables = [section(net, folder / net, python, options.provider) for net in ("digits", "resnet18", "encoder")]
    about = f"Made by `benchmarks/cuda_precision.py` on {options.provider}. Speed is the median of ratios to float32."
    PAGE.write_text("\n\n".join(["# Precisions on CUDA", about, *tables]) + "\n")


def environment(folder: Path) -> str:
    """onnxruntime-gpu with CUDA and cuDNN from wheels."""
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), "venv", "--quiet", folder], check=True)
    packages = ["onnxruntime-gpu[cuda,cudnn]>=1.27", "numpy>=2,<3"]
    python = str(folder / "bin/python")
    subprocess.run([find_uv_bin(), "pip", "install", "--quiet", "--python", python, *packages], check=True)
    return python


def section(net: str, folder: Path, python: str, provider: str) -> str:
    """One model's table."""
    from onnxpack.cache.store import Store, find_default_root
    from onnxpack.cli.progress import PlainProgress
    from onnxpack.core.errors import OnnxpackError
    from onnxpack.image.docker import DockerEngine
    from onnxpack.pipeline.chain import chain, walk
    from onnxpack.pipeline.plan import Plan
    from onnxpack.pipeline.run import Build, Product
    from onnxpack.spec.load import load

    folder.mkdir()
    text = (NETS / f"{net}.yaml").read_text().replace("opset: 18", "opset: 22")  # which knows bfloat16 everywhere
    kept = "\n".join(
        line for line in text.splitlines() if not line.startswith(("calibration:", "evaluation:", "targets:", "  cpu:"))
    )
    files, refused, reference = {}, [], None
    for precision in PRECISIONS:
        spec = NETS / f".{net}-{precision}.yaml"
        spec.write_text(f"{kept}\ntargets: {{cuda: {{device: cuda, precision: {precision}}}}}\n")
        try:
            file = load(spec)
        finally:
            spec.unlink()
        run = Build(Plan(file, "cuda", folder), Store(find_default_root()), DockerEngine(), PlainProgress())
        product = walk(run, chain(run.plan, "export"), Product())
        assert product.exported
        reference = product.exported.served
        try:
            made = walk(run, chain(run.plan, "precision"), Product()).model
            assert made
            files[precision] = str(made.path)
        except OnnxpackError as error:
            refused.append(f"{precision} is refused: {error.problems[0].message}.")
        opt = reference.opt_case(run.plan.axes)
    assert reference
    request = {"files": files, "reference": str(reference.folder), "cases": list(reference.cases), "opt": opt}
    command = [python, __file__, "--provider", provider, "--prove", json.dumps(request)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)
    lines = [f"## {net}", "", "| precision | bytes | p50 | speed | outputs | ran on |", "|---|--:|--:|--:|---|---|"]
    for precision, row in answer.items():
        lines.append(f"| {precision} | {Path(files[precision]).stat().st_size:,} | {' | '.join(row)} |")
    return "\n".join([*lines, *(["", *refused] if refused else [])])


def prove(request: dict[str, Any], provider: str) -> dict[str, list[str]]:
    """In the environment of the GPU: loads, compares, times. Gives the cells of each precision."""
    import numpy as np
    import onnxruntime as ort

    from onnxpack.parity.compare import Tolerance, compare_cases, read_case

    if provider.startswith("CUDA"):
        ort.preload_dlls()
    folder, found, sessions = Path(request["reference"]), {}, {}
    for precision, path in request["files"].items():
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(folder.parent.parent / f".profile-{precision}-{os.getpid()}")
        if provider.startswith("CUDA"):
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        else:  # as ``onnxpack.graph.check.open_session`` says
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            running = ort.InferenceSession(path, options, providers=[provider], enable_fallback=0)
            if running.get_providers()[0] != provider:
                raise RuntimeError(f"it runs on {running.get_providers()}")
            names = [output.name for output in running.get_outputs()]
            cases = [(case, *read_case(folder, case)) for case in request["cases"]]
            answers = [
                (case, right, dict(zip(names, running.run(None, inputs), strict=True))) for case, inputs, right in cases
            ]
        except Exception as error:
            found[precision] = ["-", "-", f"does not run: {' '.join(str(error).split())[:200]}", "-"]
            continue
        wrong = [row.reason for row in compare_cases(answers, Tolerance.of(precision)) if row.reason]
        profile = Path(running.end_profiling())
        kernels = {
            event["args"]["provider"]
            for event in json.loads(profile.read_text())
            if event.get("args", {}).get("provider")
        }
        profile.unlink()
        options.enable_profiling = False
        sessions[precision] = ort.InferenceSession(path, options, providers=[provider], enable_fallback=0)
        found[precision] = ["", "", wrong[0] if wrong else "agree", ", ".join(sorted(kernels))]
    inputs = read_case(folder, request["opt"])[0]
    from onnxpack.timing.models import compute_gain, time_side_by_side

    times = time_side_by_side(
        {name: lambda running=running: running.run(None, inputs) for name, running in sessions.items()}, SECONDS
    )
    for precision in sessions:
        found[precision][:2] = [
            f"{float(np.median(times[precision])) * 1000:.3f} ms",
            f"{compute_gain(times, precision):.2f}x",
        ]
    return found


if __name__ == "__main__":
    main()
