#!/usr/bin/env python3
"""Plant faults in the exports of all examples, and write the tables in docs/verification.md.

    benchmarks/mutations/measure.py            runs all examples; rows go to rows.jsonl beside this file
    benchmarks/mutations/measure.py NAME …     runs these examples again, and keeps the other rows
    benchmarks/mutations/measure.py --render   writes the tables from the rows that are there

It needs the extras torch, sklearn, pandas, xgboost and examples, and about half an hour on one core.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from classic_faults import CLASSIC
from faults import NETWORK

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
ROWS = FOLDER / "rows.jsonl"
PAGE = ROOT / "docs/verification.md"
BEGIN, END = "<!-- rows: made by benchmarks/mutations/measure.py -->\n", "<!-- end of rows -->\n"
EXAMPLES = (
    *("iris", "boosted", "passengers", "spam", "digits", "scans", "lightning", "transactions"),
    *("timm", "transformers", "torchvision"),
)
COUNT = 50
Row = dict[str, Any]


def main() -> None:
    """Run and render, or render alone."""
    wanted = sys.argv[1:]
    for name in EXAMPLES:
        if wanted != ["--render"] and (not wanted or name in wanted):
            keep(name, run(name))
    render(read())


def run(name: str) -> list[Row]:
    """Return one example's rows, from a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / "example.py"), name, str(COUNT)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"example"')]


def read() -> list[Row]:
    """Return the rows that are there."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def keep(name: str, rows: list[Row]) -> None:
    """Replace an example's rows in the file."""
    others = [row for row in read() if row["example"] != name]
    ordered = sorted([*others, *rows], key=lambda row: EXAMPLES.index(row["example"]))
    ROWS.write_text("".join(json.dumps(row) + "\n" for row in ordered))


def render(rows: list[Row]) -> None:
    """Put the tables between the page's two marks."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    parts = [tabulate(rows, "example"), tabulate(rows, "fault"), list_missed(rows), count_equivalent(rows)]
    PAGE.write_text(before + BEGIN + "\n" + "\n\n".join(parts) + "\n\n" + END + rest.split(END)[1])


def tabulate(rows: list[Row], field: str) -> str:
    """Return a table of what was caught, a line for each value of a field."""
    head = f"| {field} | planted | equal within tolerance | caught by random inputs | with the hunt | missed |"
    lines = [head, "|---|---|---|---|---|---|"]
    names = dict.fromkeys(row[field] for row in rows)
    groups = [(tell(name) if field == "fault" else name, [row for row in rows if row[field] == name]) for name in names]
    for name, own in [*groups, ("**all**", rows)]:
        told = [row for row in own if not row.get("equivalent")]
        by_random = sum(row["caught"] == "random" for row in told)
        caught = sum(bool(row["caught"]) for row in told)
        lines.append(
            f"| {name} | {len(own)} | {len(own) - len(told)} | {by_random}{show_share(by_random, told)} "
            f"| {caught}{show_share(caught, told)} | {len(told) - caught} |"
        )
    return "\n".join(lines)


def show_share(count: int, rows: list[Row]) -> str:
    """Return a count as a share of rows."""
    return f" ({count / len(rows):.1%})" if rows else ""


def tell(name: str) -> str:
    """Return a fault in words."""
    return (NETWORK | CLASSIC)[name].words


def list_missed(rows: list[Row]) -> str:
    """Return every fault that was missed though an input tells it."""
    found = [row for row in rows if not row["caught"] and not row["equivalent"]]
    lines = [
        "**Missed.** The figure is the largest difference that six searches of 60 rounds found, in tolerances.",
        "",
    ]
    lines += [f"- {row['example']}: {tell(row['fault'])}: {row['what']}; {row['tolerances']:g}" for row in found]
    return "\n".join(lines if found else [*lines, "None."])


def count_equivalent(rows: list[Row]) -> str:
    """Return what was planted and cannot be told, in numbers."""
    found = [row for row in rows if not row["caught"] and row["equivalent"]]
    same = sum(row["tolerances"] == 0 for row in found)
    return (
        f"**Equal within tolerance.** {len(found)} faults are told by no input that was tried: by the same searches, "
        f"30 random batches, and every threshold of both files. In {same} of them no difference was found (a word "
        "that no declared text has, a leaf that equals its neighbour, an attribute that onnxruntime does not read), in "
        "the others it stays below the tolerance."
    )


if __name__ == "__main__":
    main()
