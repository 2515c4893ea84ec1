"""Prove CUDA images and precisions on a machine with a GPU, and write the figures into docs/cuda.md.

Run by `.venv/bin/python -m benchmarks.cuda --write` in the repository's root, with the extras torch and sklearn
installed, and Docker with NVIDIA's container toolkit. It needs the package index for the wheels, and no other network.
Without a GPU it says so and ends with exit status 5.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cuda.machine import ROOT, find_gpus, make_environment, require_gpu_engine
from onnxpack.core.errors import OnnxpackError

sys.path.insert(0, str(ROOT / "scripts"))

from common import replace_made

PAGE = ROOT / "docs/cuda.md"
MAKER = "benchmarks/cuda"
IMAGES, PRECISION = "images", "precision"


def main() -> None:
    """Measure, and print or write the section."""
    arguments = read_arguments()
    try:
        text = measure(arguments.only or [IMAGES, PRECISION], arguments.python)
    except OnnxpackError as error:
        print(f"benchmarks.cuda: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(text)
    if arguments.write:
        PAGE.write_text(replace_made(PAGE.read_text(), MAKER, text))


def read_arguments() -> argparse.Namespace:
    """Read the command line; what is written must be whole."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the section into docs/cuda.md")
    parser.add_argument("--only", action="append", choices=(IMAGES, PRECISION), help="one part alone; not with --write")
    parser.add_argument("--python", help="the Python of an environment with onnxruntime-gpu; else one is made")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write takes all parts: leave out --only")
    return arguments


def measure(parts: list[str], python: str | None) -> str:
    """Return the section of the page.

    Raises:
        EngineError: the machine has no GPU, or its containers cannot have it.
    """
    gpus = find_gpus()
    if IMAGES in parts:
        require_gpu_engine()
    sections = [f"Measured {datetime.now(UTC):%Y-%m-%d} on {'; '.join(gpus)}."]
    with tempfile.TemporaryDirectory(prefix="onnxpack-cuda-") as name:
        folder = Path(name)
        found = python or make_environment(folder / "environment")
        if IMAGES in parts:
            from benchmarks.cuda.images import measure_images

            sections += ["### Images", measure_images(folder, found)]
        if PRECISION in parts:
            from benchmarks.cuda.precision import measure_precisions

            sections += ["### Precisions", measure_precisions(folder / "precisions", found)]
    return "\n\n".join(sections)


if __name__ == "__main__":
    main()
