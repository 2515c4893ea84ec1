"""The command line for sentence: predict, bench and check.

Exit status: 0 done, 1 the model fails or its answers differ, 2 wrong input, 130 interrupted.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from files import read, write
from inference import NAME, OUTPUTS, VERSION, Model, make_zeros, one_line, to_json
from reference import compare, read_reference

MAX_SECONDS = 3600
MAX_RUNS = 100_000  # each run's time is kept

Arrays = dict[str, NDArray[Any]]


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line; without a command, the options are those of predict."""
    parser = argparse.ArgumentParser("python -m inference", description=f"Run {NAME} {VERSION}.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("predict", help="files with --input, to stdout or --output; the default")
    command.add_argument("--input", type=Path, nargs="+", required=True, help="txt, npz, json or csv files")
    command.add_argument("--output", type=Path, help="a file; a folder if there are several inputs")
    command = commands.add_parser("bench", help="measure predictions of zeros, or of --input")
    command.add_argument("--input", type=Path, help="a file of inputs; zeros of the usual size by default")
    command.add_argument("--seconds", type=float, default=5.0, help="how long, 5 by default")
    command.add_argument("--json", action="store_true", help="print JSON")
    command = commands.add_parser("check", help="compare the model's answers here with its source's own")
    command.add_argument("--reference", type=Path, required=True, help="the build's reference.npz")
    if words and words[0].startswith("--") and words[0] != "--help":
        words = ["predict", *words]
    options = parser.parse_args(words)
    if options.command == "predict" and options.output:
        names = [path.name for path in options.input]
        if len(set(names)) < len(names):
            parser.error("two inputs have the same file name, so that their results would too")
    if options.command == "bench" and not 0 < options.seconds <= MAX_SECONDS:
        parser.error(f"--seconds must be above 0 and at most {MAX_SECONDS}")
    return options


def main() -> int:
    """Run the command, and give its exit status."""
    options = parse_arguments(sys.argv[1:])
    run = {"predict": predict, "bench": bench, "check": check}[options.command]
    try:
        return run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError) as error:
        print(one_line(error), file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def predict(options: argparse.Namespace) -> int:
    """Predict files."""
    model = Model()
    documents = []
    for path in options.input:
        outputs = run_model(model, read_file(path), path)
        if options.output is None:
            documents.append({name: to_json(array) for name, array in outputs.items()})
            continue
        several = len(options.input) > 1
        target = options.output / path.name if several else options.output
        try:
            if several:
                options.output.mkdir(parents=True, exist_ok=True)
            write(target, outputs)
        except (OSError, ValueError) as error:
            raise ValueError(f"{target}: {one_line(error)}") from error
    if documents:
        print_text(json.dumps(documents[0] if len(documents) == 1 else documents, allow_nan=False))
    return 0


def read_file(path: Path) -> Arrays:
    """Read a file of inputs, and name it in what is wrong with it."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from error


def run_model(model: Model, arrays: Arrays, source: object) -> Arrays:
    """Run the model, and name in an error where its inputs are from."""
    try:
        return model.run(arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {one_line(error)}") from error
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise RuntimeError(f"{source}: the model fails: {one_line(error)}") from error


def print_text(text: str) -> None:
    """Print to stdout, where a disk may be full or a reader gone."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else it is tried again at the end
        raise ValueError(f"cannot write to stdout: {one_line(error)}") from error


def bench(options: argparse.Namespace) -> int:
    """Measure one prediction after another."""
    model = Model()
    source = options.input or "zeros of the usual size (another input: --input)"
    arrays = read_file(options.input) if options.input else make_zeros()
    run_model(model, arrays, source)  # the first one sets up what is lazy
    times: list[float] = []
    end = time.perf_counter() + options.seconds
    while not times or (len(times) < MAX_RUNS and time.perf_counter() < end):
        started = time.perf_counter()
        run_model(model, arrays, source)
        times.append(time.perf_counter() - started)
    p50, p90, p99 = (float(value) for value in np.quantile(times, (0.5, 0.9, 0.99)))
    found: dict[str, Any] = {
        "name": NAME,
        "version": VERSION,
        "threads": model.threads,
        "predictions": len(times),
        "latency_p50_seconds": p50,
        "latency_p90_seconds": p90,
        "latency_p99_seconds": p99,
        "predictions_per_second": len(times) / sum(times),
        "rows_per_second": len(times) * len(next(iter(arrays.values()))) / sum(times),
        "peak_rss_bytes": read_peak_memory(),
    }
    if options.json:
        print_text(json.dumps(found))
        return 0
    lines = [
        f"predictions    {len(times):,}, with {model.threads} threads each",
        f"p50, p90, p99  {p50 * 1e3:.3f} ms, {p90 * 1e3:.3f} ms, {p99 * 1e3:.3f} ms",
        f"rows/s         {found['rows_per_second']:,.0f}",
        f"peak memory    {found['peak_rss_bytes'] / 2**20:,.0f} MiB",
    ]
    print_text("\n".join(lines))
    return 0


def read_peak_memory() -> int:
    """Read the greatest resident size that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def check(options: argparse.Namespace) -> int:
    """Compare the answers with those of the source model, within the tolerances of the build."""
    try:
        cases = read_reference(options.reference)
    except (OSError, ValueError) as error:
        raise ValueError(f"{options.reference}: {one_line(error)}") from error
    model = Model()
    worst = dict.fromkeys(OUTPUTS, 0.0)
    reasons = dict.fromkeys(OUTPUTS, "")
    for name, case in cases.items():
        actual = run_model(model, case.inputs, f"{options.reference}, case {name}")
        for output, expected in case.outputs.items():
            difference, reason = compare(expected, actual[output], case.limits.get(output))
            worst[output] = max(worst[output], difference)
            if reason and not reasons[output]:
                reasons[output] = f"DIFFERS in case {name} ({reason})"
    lines = [f"{name}: {reasons[name] or 'ok'}, worst difference {worst[name]:.3g}" for name in OUTPUTS]
    print_text("\n".join([*lines, f"cases compared: {', '.join(cases)}"]))
    return 1 if any(reasons.values()) else 0
