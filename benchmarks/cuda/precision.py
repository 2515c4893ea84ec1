"""Proves the reduced precisions of CUDA: which provider ran each node, the outputs, and the speed beside float32.

The models are those of ``benchmarks/precision``, made for ``device: cuda``, which takes no GPU. Then each file is
loaded by onnxruntime-gpu in an environment of its own, where it must run on CUDA alone, answer as the source model did,
and is timed in turn with float32. This module run by itself is what runs in that environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxpack.spec.load import SpecFile

ROOT = Path(__file__).resolve().parents[2]
NETS = ROOT / "benchmarks/precision"
MODELS = ("digits", "resnet18", "encoder")
PRECISIONS = ("float32", "float16", "bfloat16")
CUDA = "CUDAExecutionProvider"
SECONDS = 10.0


def measure_precisions(folder: Path, python: str, provider: str = CUDA, models: tuple[str, ...] = MODELS) -> str:
    """Return the tables of all models; another ``provider`` tries this module where no GPU is."""
    if not (NETS / "data/encoder.safetensors").exists():
        subprocess.run([sys.executable, "train.py"], check=True, cwd=NETS, stdout=sys.stderr)
    about = "Speed is the median of ratios to float32, timed in turn."
    return "\n\n".join([about, *(measure_model(net, folder / net, python, provider) for net in models)])


def measure_model(net: str, folder: Path, python: str, provider: str) -> str:
    """Return one model's table."""
    files, refused, request = make_files(net, folder)
    command = [python, __file__, provider, json.dumps(request)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)
    lines = [f"#### {net}", "", "| precision | bytes | p50 | speed | outputs | ran on |", "|---|--:|--:|--:|---|---|"]
    for precision, row in answer.items():
        lines.append(f"| {precision} | {Path(files[precision]).stat().st_size:,} | {' | '.join(row)} |")
    return "\n".join([*lines, *(["", *refused] if refused else [])])


def make_files(net: str, folder: Path) -> tuple[dict[str, str], list[str], dict[str, Any]]:
    """Return the files of a model by precision, why others were refused, and the request that proves the files."""
    from onnxpack.cache.store import Store, find_default_root
    from onnxpack.cli.progress import PlainProgress
    from onnxpack.core.errors import OnnxpackError
    from onnxpack.image import load_engine
    from onnxpack.pipeline.chain import chain, walk
    from onnxpack.pipeline.plan import Plan
    from onnxpack.pipeline.run import Build, Product

    folder.mkdir(parents=True)
    files, refused, request = {}, [], {}
    for precision in PRECISIONS:
        plan = Plan(load_variant(net, precision), "cuda", folder)
        run = Build(plan, Store(find_default_root()), load_engine(), PlainProgress())
        exported = walk(run, chain(plan, "export"), Product()).exported
        assert exported
        reference = exported.served
        request = {
            "reference": str(reference.folder),
            "cases": list(reference.cases),
            "opt": reference.opt_case(plan.axes),
        }
        try:
            made = walk(run, chain(plan, "precision"), Product()).model
            assert made
            files[precision] = str(made.path)
        except OnnxpackError as error:
            refused.append(f"{precision} is refused: {error.problems[0].message}.")
    return files, refused, request | {"files": files}


def load_variant(net: str, precision: str) -> "SpecFile":
    """Return a model's spec for CUDA in one precision, of an opset that knows bfloat16 everywhere."""
    from onnxpack.spec.load import load

    text = (NETS / f"{net}.yaml").read_text().replace("opset: 18", "opset: 22")
    replaced = ("calibration:", "evaluation:", "targets:", "  cpu:")
    kept = "\n".join(line for line in text.splitlines() if not line.startswith(replaced))
    spec = NETS / f".{net}-{precision}.yaml"  # its paths are relative to this folder
    spec.write_text(f"{kept}\ntargets: {{cuda: {{device: cuda, precision: {precision}}}}}\n")
    try:
        return load(spec)
    finally:
        spec.unlink()


def prove(request: dict[str, Any], provider: str) -> dict[str, list[str]]:
    """Load, compare and time the files in the environment of the GPU, and return the cells of each precision."""
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
    print(json.dumps(prove(json.loads(sys.argv[2]), sys.argv[1])))
