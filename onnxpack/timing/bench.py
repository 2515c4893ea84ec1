"""Compare a source model, its float32 export and what ships by their measurements; no model is run here."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Literal

from onnxpack.core.text import format_bytes, format_digits, format_table, format_time, plural
from onnxpack.spec.load import SpecFile
from onnxpack.spec.parts import list_folder_parts, list_parts
from onnxpack.spec.traits import frameworks
from onnxpack.timing import compute_paired_gain

if TYPE_CHECKING:
    from onnxpack.timing.contest import Contender

Kind = Literal["source", "float32", "target", "model"]
BASES: tuple[Kind, ...] = ("source", "float32")
"""What the others are compared with."""


@dataclass(frozen=True)
class Entry:
    """One participant of a benchmark."""

    kind: Kind
    label: str
    path: Path | None = None
    size_bytes: int | None = None
    """Of the file and its external data; None for a source model that is code alone."""


@dataclass(frozen=True)
class Timing:
    """One entry's times at one set of sizes; ``rows_per_second`` is at p50, ``speedup`` by the kind compared with."""

    sizes: Mapping[str, int]
    rows: int
    p50_seconds: float
    p99_seconds: float
    rows_per_second: float
    runs: int
    speedup: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """All measurements of one entry."""

    kind: Kind
    label: str
    size_bytes: int | None
    peak_rss_bytes: int
    load_seconds: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Machine:
    """The machine that measured; ``cpus`` are those that this process may use."""

    processor: str
    cpus: int
    threads: int


@dataclass(frozen=True)
class Bench:
    """A whole benchmark; ``usual`` is the index of the timing at the usual sizes, the last one is at the largest."""

    name: str
    machine: Machine
    batch_axis: str | None
    usual: int
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the benchmark as JSON values."""
        return asdict(self)


def describe_machine(threads: int | None, cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """Return the processor by its own name; ``threads`` of None are as many as there are CPUs."""
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    cpus = len(os.sched_getaffinity(0))
    return Machine(" ".join(named[1].split()) if named else platform.machine(), cpus, threads or cpus)


def warn_if_busy() -> tuple[str, ...]:
    """Return a warning where other programs use so much of the CPUs that times cannot be trusted."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    # The models that are timed want the other half.
    if load <= cpus / 2:
        return ()
    return (f"the machine was busy (load {load:.1f} on {cpus} CPUs): trust ratios, not times",)


def measure_source_bytes(file: SpecFile) -> int | None:
    """Return the size of the files that the source model is loaded from; None where it is code alone."""
    name = file.spec.model.path or file.spec.model.weights_file
    if name is None:
        return None
    path = file.resolve(name)
    if path.is_dir():
        parts = list_folder_parts(path, frameworks()[file.spec.model.framework].folder)
    else:
        parts = [path, *list_parts(path)]
    return sum(part.stat().st_size for part in parts if part.is_file())


def make_results(
    entries: Sequence[Entry],
    sizes: Sequence[Mapping[str, int]],
    batch: str | None,
    found: "Mapping[str, Contender]",
) -> tuple[Result, ...]:
    """Return the results of what ``contest`` measured, in the order of ``entries``."""
    bases = {entry.kind: found[entry.label].times for entry in entries if entry.kind in BASES}
    results = []
    for entry in entries:
        raw = found[entry.label]
        timings = tuple(
            _make_timing(at, batch, times, {kind: base[index] for kind, base in bases.items() if kind != entry.kind})
            for index, (at, times) in enumerate(zip(sizes, raw.times, strict=True))
        )
        figures = (entry.size_bytes, raw.peak_rss_bytes, raw.load_seconds)
        results.append(Result(entry.kind, entry.label, *figures, timings))
    return tuple(results)


def _make_timing(
    at: Mapping[str, int], batch: str | None, times: Sequence[float], bases: Mapping[str, Sequence[float]]
) -> Timing:
    """Summarise the times of one entry at one set of sizes; ``bases`` are the times that it is compared with."""
    rows, p50 = at[batch] if batch else 1, median(times)
    gains = {kind: _gain(base, times) for kind, base in bases.items()}
    return Timing(dict(at), rows, p50, quantiles(times, n=100, method="inclusive")[98], rows / p50, len(times), gains)


def _gain(base: Sequence[float], own: Sequence[float]) -> float:
    """Compare pairs where both were timed together; a source in an environment of its own was timed apart."""
    return compute_paired_gain(base, own) if len(base) == len(own) else median(base) / median(own)


def format_bench(bench: Bench) -> str:
    """Return tables for a terminal: times at every size, then file, memory and load time, then notes."""
    head = f"{bench.name} on {bench.machine.processor}, {plural(bench.machine.threads, 'thread')}"
    lines = [head, "", *format_table(_list_times(bench)), ""]
    cells: list[tuple[str, ...]] = [("model", "file", "peak memory", "load")]
    cells += [
        (
            result.label,
            format_size(result.size_bytes),
            format_bytes(result.peak_rss_bytes),
            format_time(result.load_seconds),
        )
        for result in bench.results
    ]
    return "\n".join([*lines, *format_table(cells), *(f"note: {note}" for note in bench.notes)])


def _list_times(bench: Bench) -> list[tuple[str, ...]]:
    """Return the cells of the table of times."""
    against = [kind for kind in BASES if any(result.kind == kind for result in bench.results)]
    axes = list(bench.results[0].timings[0].sizes)
    cells: list[tuple[str, ...]] = [
        (
            *axes,
            "model",
            "p50",
            "p99",
            "rows/s" if bench.batch_axis else "runs/s",
            *(f"against {kind}" for kind in against),
        )
    ]
    for index, first in enumerate(bench.results[0].timings):
        for result in bench.results:
            timing = result.timings[index]
            gains = (format_gain(timing.speedup[kind]) if kind in timing.speedup else "-" for kind in against)
            p50, p99 = format_time(timing.p50_seconds), format_time(timing.p99_seconds)
            sizes = [str(size) for size in first.sizes.values()]
            cells.append((*sizes, result.label, p50, p99, format_count(timing.rows_per_second), *gains))
    return cells


def format_size(count: int | None) -> str:
    """Format a size in bytes; a dash stands for None."""
    return "-" if count is None else format_bytes(count)


def format_count(count: float) -> str:
    """Format a number with three digits, and with commas between thousands."""
    return f"{round(count, 3 - len(str(int(count)))):,.0f}" if count >= 1000 else format_digits(count)


def format_gain(gain: float) -> str:
    """Format a ratio with three digits and the multiplication sign."""
    return f"{format_count(gain) if gain >= 1000 else f'{gain:#.3g}'.rstrip('.')}\N{MULTIPLICATION SIGN}"
