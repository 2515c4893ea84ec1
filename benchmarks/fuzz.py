"""Throw many fuzzed documents of all kinds at their readers: ``benchmarks/fuzz.py --documents 100000 --seed 1``.

Each reader must take its document or refuse it by a typed error, in bounded time and memory. Processes of their own
read them, so a crash is seen too; what the package itself reads in child processes may take those down. A document
that breaks the rule is kept, and the exit status is 1.
"""

import argparse
import os
import queue
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers"), str(ROOT / "tests/faults")]

from fuzz_child import Child  # noqa: E402
from fuzz_documents import KINDS  # noqa: E402
from fuzz_tools import Outcome  # noqa: E402

from onnxpack.core.text import format_table  # noqa: E402

_PATIENCE = 10.0  # seconds
_PIECE = 100  # documents of one kind in a row


class Tally:
    """Counts of the documents of each kind by their outcome."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.slowest: defaultdict[str, float] = defaultdict(float)
        self.peak: defaultdict[str, float] = defaultdict(float)
        self.failures: list[str] = []

    def add(self, name: str, seed: str, outcome: Outcome) -> None:
        """Count an outcome, and keep the document of one that should not be."""
        died = outcome.failure.startswith("it died")
        with self._lock:
            self.slowest[name] = max(self.slowest[name], outcome.milliseconds)
            self.peak[name] = max(self.peak[name], outcome.peak)
            if died and KINDS[name].native:
                self.counts[name]["died"] += 1
            elif outcome.failure:
                self.counts[name]["failed"] += 1
                self.failures.append(f"{name} {seed}: {outcome.failure}\n  see {self._keep(name, seed)}")
                print(self.failures[-1], file=sys.stderr, flush=True)
            else:
                self.counts[name]["accepted" if outcome.accepted else "refused"] += 1

    def _keep(self, name: str, seed: str) -> Path:
        folder = self._kept / f"{name} {seed}".replace(" ", "-")
        if not folder.exists():
            folder.mkdir(parents=True)
            KINDS[name].make(random.Random(f"{name} {seed}"), folder)
        return folder

    def rows(self) -> list[tuple[object, ...]]:
        """Return the table."""
        columns = ("refused", "accepted", "died", "failed")
        rows: list[tuple[object, ...]] = [("kind", "documents", *columns, "slowest ms", "peak MB")]
        for name, counts in self.counts.items():
            figures = (f"{self.slowest[name]:.0f}", f"{self.peak[name]:.0f}")
            rows.append((name, counts.total(), *(counts[column] for column in columns), *figures))
        whole = sum(self.counts.values(), Counter())
        figures = (f"{max(self.slowest.values()):.0f}", f"{max(self.peak.values()):.0f}")
        return [*rows, ("all", whole.total(), *(whole[column] for column in columns), *figures)]


def main() -> int:
    """Go through all of them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=1e6, help="after which it ends, and tells what was done")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where documents go that break a rule")
    asked = parser.parse_args()
    tally, pieces = Tally(asked.keep), _pieces(asked.kinds, asked.documents, asked.seed)
    started = time.monotonic()
    end = started + asked.minutes * 60
    workers = [threading.Thread(target=_work, args=(pieces, asked.seed, tally, end)) for _ in range(asked.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("\n".join(format_table(tally.rows(), right=range(1, 8))))
    print(f"seed {asked.seed}, {time.monotonic() - started:.0f} s")
    return 1 if tally.failures else 0


def _pieces(names: list[str], documents: int, seed: int) -> "queue.Queue[tuple[str, range]]":
    """Share the documents out among the kinds, and mix them, so that a run that is cut short has some of all."""
    whole = sum(KINDS[name].share for name in names)
    found: list[tuple[str, range]] = []
    for name in names:
        count = -(-documents * KINDS[name].share // whole)
        found += [(name, range(start, min(start + _PIECE, count))) for start in range(0, count, _PIECE)]
    random.Random(seed).shuffle(found)
    pieces: queue.Queue[tuple[str, range]] = queue.Queue()
    for piece in found:
        pieces.put(piece)
    return pieces


def _work(pieces: "queue.Queue[tuple[str, range]]", seed: int, tally: Tally, end: float) -> None:
    child = Child(_PATIENCE)
    try:
        while time.monotonic() < end:
            name, numbers = pieces.get_nowait()
            for number in numbers:
                tally.add(name, f"{seed}-{number}", child.ask(name, f"{seed}-{number}"))
    except queue.Empty:
        pass
    finally:
        child.end()


if __name__ == "__main__":
    sys.exit(main())
