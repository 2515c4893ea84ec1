"""What the last builds of a target took of time and memory: kept in the store, for those who plan the next one."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.core.digests import digest
from onnxpack.core.regular import read_regular
from onnxpack.fleet.job import Job, Outcome
from onnxpack.worker.codec import decode, encode

_FOLDER = "figures"
_LIMIT = 4096  # bytes


@dataclass(frozen=True)
class Figures:
    """What a build of one target took."""

    peak_bytes: int = 0
    seconds: float = 0.0


def read_figures(store: Store, spec: Path, target: str) -> Figures:
    """Return what is known of a target's builds; zeros where nothing is."""
    try:
        return decode(read_regular(_place(store, spec, target), _LIMIT), Figures)
    except (OSError, ValueError):
        return Figures()


def keep_figures(store: Store, job: Job, outcome: Outcome) -> None:
    """Remember what a job took, if it did any work.

    A build that took some of its results from the store says little about one that finds none, so that its figures
    only raise those that are known.
    """
    stages = outcome.document.get("stages") or ()
    if outcome.state != "built" or not outcome.peak_bytes:
        return
    spec = job.folder / job.spec
    figures = Figures(outcome.peak_bytes, outcome.seconds)
    if any(stage["cached"] for stage in stages):
        known = read_figures(store, spec, job.target)
        figures = Figures(max(known.peak_bytes, figures.peak_bytes), max(known.seconds, figures.seconds))
    with contextlib.suppress(OSError):  # without room for it the next build knows less, and that is all
        store.write(_place(store, spec, job.target), encode(figures))


def _place(store: Store, spec: Path, target: str) -> Path:
    return store.root / _FOLDER / digest(str(spec.absolute()), target)
