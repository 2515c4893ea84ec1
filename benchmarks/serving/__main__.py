"""Compare the rendered server with others, and write the figures into docs/serving.md.

Run by `.venv/bin/python -m benchmarks.serving` in the repository's root, with the extras torch and sklearn installed;
the first run makes the environments of the peers, which takes the network. `--quick` only shows that all works.
"""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.serving.goals import Goal, Subjects, measure_goals
from benchmarks.serving.measure import Course, Figures, measure_all, select_peers
from benchmarks.serving.peers import OURS, default_folder
from benchmarks.serving.tables import write_page
from benchmarks.serving.workloads import (
    BINARY,
    HERE,
    JSON,
    ROOT,
    Workload,
    build_bundle,
    make_features,
    make_image,
    make_iris,
    make_transactions,
    make_workload,
)

sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made

PAGE = ROOT / "docs/serving.md"
FIGURES = HERE / "figures.json"
MAKER = "benchmarks/serving"


def main() -> None:
    """Measure, and write the page."""
    arguments = read_arguments()
    random.seed(arguments.seed)
    peers = select_peers(arguments.peers)
    with tempfile.TemporaryDirectory(prefix="onnxpack-serving-") as name:
        folder = Path(name)
        course = Course(
            forms=(JSON, BINARY),
            connections=(1, 16) if arguments.quick else (1, 16, 64),
            rounds=1 if arguments.quick else arguments.rounds,
            seconds=0.3 if arguments.quick else arguments.seconds,
            minutes=arguments.minutes,
            folder=folder,
            environments=arguments.environments,
        )
        workloads = make_workloads(folder, arguments.models)
        figures = measure_all(workloads[:1] if arguments.quick else workloads, peers, course, say)
        goals: list[Goal] = []
        if not arguments.no_goals and any(peer.title == OURS for peer in peers):
            goals = measure_goals(make_subjects(folder), course, say)
        shown = workloads[:1] if arguments.quick else workloads
        text = write_page(shown, peers, course, figures, goals)
    print(text)
    if arguments.write:
        PAGE.write_text(replace_made(PAGE.read_text(), MAKER, text))
        write_figures(figures, goals)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description="Compare servers of ONNX models.")
    parser.add_argument("--quick", action="store_true", help="the forest alone, one short round: see that all works")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=12, help="for all rounds; the goals take three more")
    parser.add_argument("--peers", nargs="*", default=[], help="only those whose names have one of these words")
    parser.add_argument("--models", nargs="*", default=[], help="only those whose titles have one of these words")
    parser.add_argument("--no-goals", action="store_true", help="leave out the goals of our own server")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {FIGURES.name}")
    parser.add_argument("--environments", type=Path, default=default_folder(), help="where peers are installed")
    parser.add_argument("--seed", type=int, help="for the order")
    return parser.parse_args()


def make_workloads(folder: Path, words: list[str]) -> list[Workload]:
    """Make the models that all servers serve."""
    say("building the models")
    found = [
        make_workload("iris forest", build_bundle(ROOT / "specs/iris", folder), make_iris(1)),
        make_workload("ResNet-18", build_bundle(ROOT / "specs/torchvision", folder), make_image(32)),
        make_workload("transactions", build_bundle(ROOT / "specs/transactions", folder), make_transactions(24)),
    ]
    return [one for one in found if not words or any(word.lower() in one.title.lower() for word in words)]


def make_subjects(folder: Path) -> Subjects:
    """Make what the goals are measured on."""
    iris = build_bundle(ROOT / "specs/iris", folder)
    transactions = build_bundle(ROOT / "specs/transactions", folder)
    return Subjects(
        iris=make_workload("iris forest", iris, make_iris(1)),
        cnn=make_workload("ResNet-18", build_bundle(ROOT / "specs/torchvision", folder), make_image(32)),
        small_json=(
            make_workload("iris forest, 100 rows", iris, make_iris(100)),
            make_workload("transactions", transactions, make_transactions(24)),
        ),
        pixels=make_workload("channel means", build_bundle(HERE / "pixels", folder), make_image(224)),
        dense=make_workload("dense layers", build_bundle(HERE / "dense", folder), make_features()),
    )


def write_figures(figures: Figures, goals: list[Goal]) -> None:
    """Write all that was measured, as JSON."""
    rows = []
    for cell in sorted(figures.samples):
        if median := figures.find_median(cell):
            rows.append({**cell._asdict(), **{name: round(value, 4) for name, value in median._asdict().items()}})
    troubles = [" · ".join(place) + f": {trouble}" for place, trouble in sorted(figures.troubles.items())]
    document = {"goals": [asdict(goal) for goal in goals], "troubles": troubles}
    lines = [json.dumps(document, indent=1, ensure_ascii=False)[:-2], ' "rows": [']
    text = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    FIGURES.write_text(",\n".join(lines[:1]) + ",\n" + lines[1] + "\n" + text + "\n ]\n}\n")


def say(sentence: str) -> None:
    """Tell how far it is."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
