"""Time a photograph of 500 x 375 on its way to 224 x 224: the rendered module beside the libraries themselves.

Medians of CPU time over many runs in turn, on one thread, decoding included:
`benchmarks/inputs/picture_times.py --runs 200`
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from picture_examples import WAYS, encode, load_reader, make_intake  # noqa: E402
from PIL import Image  # noqa: E402

from onnxpack.core.text import format_table  # noqa: E402
from onnxpack.intake.picture_reference import read_reference, require_module  # noqa: E402


def make_photograph() -> bytes:
    """Return a JPEG as large as a photograph of this size usually is."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(1).integers(0, 16, smooth.shape, dtype=np.uint8)
    return encode((smooth // 2 + grain).astype(np.uint8), "jpeg", quality=85)


def time_in_turn(works: list[Callable[[], Any]], runs: int) -> list[float]:
    """Return the median milliseconds of each, run in turn."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(runs + 3):
        for found, work in zip(times, works, strict=True):
            start = time.thread_time()
            work()
            found.append((time.thread_time() - start) * 1000)
    return [median(found[3:]) for found in times]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    require_module("torch").set_num_threads(1)
    require_module("cv2").setNumThreads(1)
    file = make_photograph()
    rows = [["like", "method", "module, ms", "library, ms"]]
    for like, method in WAYS:
        resize = {"op": "resize", "size": (224, 224), "like": like, "method": method}
        intake = make_intake(resize, shape=(224, 224, 3))
        read = load_reader(intake)
        ours, theirs = time_in_turn([lambda r=read: r("image", [file]), lambda i=intake: read_reference(i, file)], runs)
        rows.append([like, method, f"{ours:.2f}", f"{theirs:.2f}"])
    print(f"a JPEG of {len(file) >> 10} KiB, medians of {runs}")
    print("\n".join(format_table(rows, right=(2, 3))))


if __name__ == "__main__":
    main()
