"""Hold what is measured of an image, and keep it as JSON."""

import statistics
from collections import defaultdict
from typing import NamedTuple

PLAIN, GZIP, ZSTD = "bytes", "gzip bytes", "zstd bytes"
RUNTIME_PLAIN, RUNTIME_GZIP, RUNTIME_ZSTD = (
    "runtime layer: bytes",
    "runtime layer: gzip bytes",
    "runtime layer: zstd bytes",
)
COLD, CHANGED, SAME = "cold build, s", "build after a model change, s", "build of nothing new, s"
COLD_STAGE, CHANGED_STAGE = "stage image of the cold build, s", "stage image after a model change, s"
CHANGED_PACKING = "stages bundle, compile and image after a model change, s"
PUSH_SECONDS, PUSH_BYTES, MODEL_BYTES = (
    "push after a model change, s",
    "push after a model change, bytes",
    "model bytes",
)
START, MEMORY = "cold start, s", "peak memory, MB"
OPENBLAS = "has OpenBLAS"


class Cell(NamedTuple):
    """Hold what was measured of each image."""

    subject: str
    model: str
    measure: str


class Figures:
    """All samples of all cells, and what could not be measured."""

    def __init__(self) -> None:
        self.samples: dict[Cell, list[float]] = defaultdict(list)
        self.troubles: dict[str, str] = {}
        """Why a subject has no more figures."""
        self.seconds = 0.0
        """Return how long the whole run took."""

    def add(self, cell: Cell, value: float) -> None:
        """Add a sample."""
        self.samples[cell].append(value)

    def find(self, subject: str, model: str, measure: str) -> float | None:
        """Return the median of a cell's samples; None if there are none."""
        values = self.samples.get(Cell(subject, model, measure))
        return statistics.median(values) if values else None

    def count(self, measure: str) -> int:
        """Return how many samples a measure has where it has most."""
        return max((len(values) for cell, values in self.samples.items() if cell.measure == measure), default=0)

    def find_worst(self, measure: str, subjects: list[str]) -> float | None:
        """Return the largest median that any of the subjects has, whatever the model."""
        found = [statistics.median(values) for cell, values in self.samples.items()
                 if cell.measure == measure and cell.subject in subjects and values]  # fmt: skip
        return max(found, default=None)
