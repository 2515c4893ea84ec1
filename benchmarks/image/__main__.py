"""Compare our images with the usual ones, and write the figures into docs/images.md.

Run by `scripts/engine run -- .venv/bin/python -m benchmarks.image` in the repository's root, with the extras torch,
sklearn and examples installed, and docker-registry (a Debian package) for the pushes. It needs PyTorch's wheel for CPUs
where uv finds it: UV_FIND_LINKS names a folder or page of wheels. `--quick` only shows that all works.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.image.figures import Figures
from benchmarks.image.goals import judge_goals
from benchmarks.image.measure import Course, Maker, Run
from benchmarks.image.models import ROOT, make_question
from benchmarks.image.ours import OurMaker
from benchmarks.image.processes import RunError, run
from benchmarks.image.subjects import DISTROLESS, MODELS, SLIM, SUBJECTS, Ours
from benchmarks.image.tables import write_page
from benchmarks.image.usual import UsualMaker
from benchmarks.serving.goals import Goal

sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made

HERE = Path(__file__).parent
PAGE, FIGURES = ROOT / "docs/images.md", HERE / "figures.json"
MAKER = "benchmarks/image"
QUICK = ("onnxpack, docker, distroless", "onnxpack, oci, slim", "FastAPI, onnxruntime")


def main() -> None:
    """Measure, and write the page."""
    arguments = read_arguments()
    random.seed(arguments.seed)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that what was made goes
    models = MODELS[:1] if arguments.quick else MODELS
    rounds = (1, 1) if arguments.quick else (arguments.changes, arguments.starts)
    with tempfile.TemporaryDirectory(prefix="onnxpack-image-") as name, preparing(Path(name), arguments) as makers:
        for model in models:
            make_question(model)
        figures = Run(makers, Course(models, *rounds, arguments.minutes, Path(name), say)).measure_all()
    goals = judge_goals(figures)
    text = write_page(models, figures, goals)
    print(text)
    if arguments.write:
        PAGE.write_text(replace_made(PAGE.read_text(), MAKER, text))
        write_figures(figures, goals)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.image", description="Compare images that serve a model.")
    parser.add_argument("--quick", action="store_true", help="the forest alone, three images: see that all works")
    parser.add_argument("--changes", type=int, default=3, help="how often the model changes")
    parser.add_argument("--starts", type=int, default=5, help="how often each image is started")
    parser.add_argument("--minutes", type=float, default=12, help="for all rounds; one of each is always made")
    parser.add_argument("--images", nargs="*", default=[], help="only those whose titles have one of these words")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {FIGURES.name}")
    parser.add_argument("--seed", type=int, help="for the order")
    return parser.parse_args()


@contextmanager
def preparing(folder: Path, arguments: argparse.Namespace) -> Iterator[list[Maker]]:
    """Have the bases and the wheels that all builds need; yield what makes images, and remove those in the end."""
    bases = {}
    for base, options in ((DISTROLESS, []), (SLIM, ["--slim"])):
        say(f"the base {base}")
        script = [str(ROOT / "scripts/base"), base, *options]
        bases[base] = folder / f"{len(bases)}.tar"
        run(script)
        run([*script, "--archive", str(bases[base])])
    makers: list[OurMaker | UsualMaker] = []
    for number, subject in enumerate(SUBJECTS):
        words = arguments.images or (QUICK if arguments.quick else [""])
        if not any(word.lower() in subject.title.lower() for word in words):
            continue
        home = folder / f"image{number}"
        if isinstance(subject, Ours):
            makers.append(OurMaker(subject, home, bases[subject.base]))
            continue
        maker = UsualMaker(subject, home)
        say(f"the wheels of {subject.title}")
        try:
            maker.warm()
        except RunError as error:
            say(f"{subject.title} cannot be installed: {error}")
        makers.append(maker)
    try:
        yield list(makers)
    finally:
        names = [name for maker in makers for name in maker.list_images()]
        subprocess.run(["docker", "rmi", "--force", *names], check=False, capture_output=True)


def write_figures(figures: Figures, goals: list[Goal]) -> None:
    """Write all that was measured, as JSON."""
    rows = [
        {
            **cell._asdict(),
            "median": round(figures.find(*cell) or 0.0, 4),
            "samples": [round(one, 4) for one in samples],
        }
        for cell, samples in sorted(figures.samples.items())
    ]
    document = {"goals": [asdict(goal) for goal in goals], "troubles": figures.troubles}
    head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
    text = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    FIGURES.write_text(f'{head},\n "rows": [\n{text}\n ]\n}}\n')


def say(sentence: str) -> None:
    """Tell how far it is."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
