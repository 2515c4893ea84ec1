#!/usr/bin/env python3
"""Take small models of transformers from a folder to an export, as `onnxpack init` and a build do, and print a table.

    PYTHONPATH=tests/helpers python benchmarks/sources/transformers_zoo.py            all, each in a process of its own
    PYTHONPATH=tests/helpers python benchmarks/sources/transformers_zoo.py NAME …     these
    … --write                                             the same, and the table goes into docs/sources.md

Each folder is made with random weights, `init` drafts its spec, and the spec is exported by both exporters at several
opsets and compared with its source at every size that a build compares.
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from exporting import export_here
from transformer_folders import KINDS, save_model, save_sentence_modules

from onnxpack.core.errors import OnnxpackError
from onnxpack.inspection.draft import Draft, write
from onnxpack.inspection.folder import look_at_folder
from onnxpack.spec.load import SpecFile, load

WAYS = (("dynamo", 18), ("torchscript", 13), ("torchscript", 17), ("torchscript", 20))
SENTENCES = ("mpnet", "minilm")
SECONDS = 900
PAGE = Path(__file__).resolve().parents[2] / "docs/sources.md"
BEGIN, END = "<!-- zoo: made by benchmarks/sources/transformers_zoo.py -->\n", "<!-- end of zoo -->\n"


def main() -> None:
    """Measure one model, or all."""
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    if "--one" in sys.argv:
        print(measure(names[0]), flush=True)
        return
    head = f"| model | takes | outputs | {' | '.join(f'{name} {opset}' for name, opset in WAYS)} |"
    rows = [head, "|" + "---|" * (3 + len(WAYS))]
    for name in names or KINDS:
        command = [sys.executable, __file__, name, "--one"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            rows.append(f"| {name} | over {SECONDS} s |")
            continue
        rows.append(
            done.stdout.strip().splitlines()[-1] if done.returncode == 0 else f"| {name} | {done.stderr[-300:]}"
        )
        print(rows[-1], flush=True)
    if "--write" in sys.argv:
        text = PAGE.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(before + BEGIN + "\n" + "\n".join(rows) + "\n\n" + END + after)


def measure(name: str) -> str:
    """Return a model's row."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(name, folder / name)
        if name in SENTENCES:
            save_sentence_modules(folder / name)
        grown = Draft({"onnxpack": 1, "name": name, "model": {"framework": "transformers", "path": name}})
        drafted = look_at_folder(grown, folder / "spec.yaml")
        drafted.fields["targets"] = {"cpu": {"device": "cpu"}}
        write(drafted, folder / "spec.yaml", force=False)
        file = load(folder / "spec.yaml")
        cells = [compare(file, exporter, opset, folder) for exporter, opset in WAYS]
        takes = "pictures" if "pixel_values" in file.spec.inputs else "texts"
        return f"| {KINDS[name].model} | {takes} | {', '.join(file.spec.outputs)} | {' | '.join(cells)} |"


def compare(file: SpecFile, exporter: str, opset: int, folder: Path) -> str:
    """Return the largest difference over all cases, or why there is none."""
    spec = replace(file.spec, model=replace(file.spec.model, exporter=cast(Any, exporter)), opset=opset)
    try:
        made = export_here(replace(file, spec=spec), folder / f"{exporter}{opset}")
    except OnnxpackError as error:
        return error.problems[0].message[:120]
    rows = made.rows()
    wrong = [row.reason for row in rows if row.reason]
    return wrong[0] if wrong else f"{max(row.max_abs_diff for row in rows):.0e}"


if __name__ == "__main__":
    main()
