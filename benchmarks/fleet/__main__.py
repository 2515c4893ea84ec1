"""Measure many specs at once, and write the figures into docs/scale.md.

Run by `.venv/bin/python -m benchmarks.fleet` in the repository's root, with the extras torch, sklearn, dask and remote
installed. `--quick` builds eight specs, to see that all works.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.fleet.cluster import ROOT
from benchmarks.fleet.hand import ByHand
from benchmarks.fleet.measure import Course, Figures, Run, measure_all
from benchmarks.fleet.tables import write_page, write_simulation

sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made

HERE = Path(__file__).parent
PAGE, FIGURES = ROOT / "docs/scale.md", HERE / "figures.json"
MAKER, SIMULATION = "benchmarks/fleet", "benchmarks/fleet/simulate.py"
BASE = "gcr.io/distroless/python3-debian12"


def main() -> None:
    """Measure, or take the figures that were measured last, and write the page."""
    arguments = read_arguments()
    if arguments.again:
        figures = read_figures(FIGURES.read_text())
    else:
        with tempfile.TemporaryDirectory(prefix="onnxpack-fleet-") as name:
            figures = measure_all(Course(arguments.count, provide_base(arguments.base, Path(name)), Path(name), say))
    texts = {MAKER: write_page(figures), SIMULATION: write_simulation(figures)}
    print("\n\n".join(texts.values()))
    if arguments.write:
        FIGURES.write_text(figures.to_json())
        page = PAGE.read_text()
        for maker, text in texts.items():
            page = replace_made(page, maker, f"{text}\n")
        PAGE.write_text(page)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.fleet", description="Measure a fleet of small specs.")
    parser.add_argument("--count", type=int, default=100, help="how many specs")
    parser.add_argument("--quick", dest="count", action="store_const", const=8, help="eight specs: see that all works")
    parser.add_argument("--base", type=Path, help="an archive of the base image; without it scripts/base makes one")
    parser.add_argument("--again", action="store_true", help=f"measure nothing: take {FIGURES.name}")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {FIGURES.name}")
    return parser.parse_args()


def provide_base(given: Path | None, folder: Path) -> Path:
    """Return the archive of the base image, which is made if none is given."""
    if given:
        return given.absolute()
    say("the base image")
    place = folder / "base.tar"
    subprocess.run([str(ROOT / "scripts/base"), BASE, "--archive", str(place)], check=True, stdout=subprocess.DEVNULL)
    return place


def read_figures(text: str) -> Figures:
    """Read figures that were written as JSON."""
    values = json.loads(text)
    values["runs"] = {title: Run(**run) for title, run in values["runs"].items()}
    values["hand"] = ByHand(**values["hand"]) if values["hand"] else None
    return Figures(**values)


def say(sentence: str) -> None:
    """Tell how far it is."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
