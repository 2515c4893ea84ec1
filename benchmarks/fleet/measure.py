"""Measure the fleet: cold, unchanged, one changed, on a fresh machine, and over a cluster one of whose workers dies."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fleet.cluster import running_machines
from benchmarks.fleet.hand import ByHand, measure_by_hand
from benchmarks.fleet.specs import KINDS, lock_fleet, write_fleet, write_spec
from benchmarks.fleet.watched import Watched, measure_folder, run_watched

ONE_BY_ONE, PARALLEL, UNCHANGED, CHANGED, FRESH, CLUSTER = (
    "cold, one by one",
    "cold, in parallel",
    "unchanged",
    "one changed",
    "fresh machine, warm shared store",
    "cold, three workers of a cluster, one killed",
)
WORKERS = ("w1", "w2", "w3")
_TASKS = 1000
_HEAVY = ("export", "packages")
_KILLED_AFTER = 0.3
"""The share of the models that is built when a worker is killed."""


@dataclass(frozen=True)
class Run:
    """One run of the command over the whole fleet."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    built: int
    unchanged: int
    export_or_resolve: int
    """How many exports, and installations of packages, were made."""


@dataclass
class Figures:
    """All that was measured."""

    count: int
    cores: int = 0
    load: float = 0.0
    """The machine's mean load over the last fifteen minutes, before anything was measured."""
    runs: dict[str, Run] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage in the cold run one by one, all models together."""
    job_seconds: list[float] = field(default_factory=list)
    """Of the first jobs of the cold run one by one, one of each kind."""
    store_bytes: int = 0
    shared_bytes: int = 0
    shared_objects: int = 0
    start_seconds: float = 0.0
    """Of the command, for one spec that is unchanged."""
    task_seconds: float = 0.0
    """Of Dask's scheduler, for a task that does nothing."""
    hand: ByHand | None = None

    def to_json(self) -> str:
        """Return the figures as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class Course:
    """What is measured, and where."""

    count: int
    base: Path
    """The archive of the base image."""
    folder: Path
    say: Callable[[str], None]

    @property
    def fleet(self) -> Path:
        """Return the work tree of the specs."""
        return self.folder / "fleet"

    def build(self, fleet: Path, store: str, *options: str, **variables: str) -> Watched:
        """Run the command over a work tree, with a store of this name."""
        command = [sys.executable, "-m", "onnxpack", "build", str(fleet), "--engine", "oci", "--base", str(self.base)]
        command += ["--output", str(self.folder / f"dist-{store}"), "--json", *options]
        return run_watched(command, {"ONNXPACK_CACHE": str(self.folder / store), **variables})


def measure_all(course: Course) -> Figures:
    """Measure everything once."""
    figures = Figures(course.count, len(os.sched_getaffinity(0)), os.getloadavg()[2])
    course.say(f"writing {course.count} specs, and locking them")
    write_fleet(course.fleet, course.count)
    lock_fleet(course.fleet)
    course.say("the wheels")
    write_fleet(course.folder / "warm", 1)
    lock_fleet(course.folder / "warm")
    course.build(course.folder / "warm", "warm-store")
    _measure_here(course, figures)
    _measure_elsewhere(course, figures)
    course.say("by hand")
    figures.hand = measure_by_hand()
    return figures


def _measure_here(course: Course, figures: Figures) -> None:
    """Measure what needs one machine alone."""
    course.say(ONE_BY_ONE)
    watched = course.build(course.fleet, "serial", "--jobs", "1")
    figures.runs[ONE_BY_ONE] = _summarize(watched)
    figures.stages = _sum_stages(watched)
    figures.job_seconds = [sum(stage["seconds"] for stage in one["stages"]) for one in json.loads(watched.out)]
    figures.job_seconds = figures.job_seconds[len(KINDS) : 2 * len(KINDS)] or figures.job_seconds
    shutil.rmtree(course.folder / "serial")
    course.say(PARALLEL)
    figures.runs[PARALLEL] = _summarize(course.build(course.fleet, "store"))
    figures.store_bytes = measure_folder(course.folder / "store")
    course.say(UNCHANGED)
    figures.runs[UNCHANGED] = _summarize(course.build(course.fleet, "store"))
    figures.start_seconds = course.build(next(course.fleet.glob("model-*")), "store").seconds
    course.say(CHANGED)
    write_spec(course.fleet, course.count // 2, variant=1)
    figures.runs[CHANGED] = _summarize(course.build(course.fleet, "store"))


def _measure_elsewhere(course: Course, figures: Figures) -> None:
    """Measure a cluster that fills a shared store, and a machine that has nothing but that store."""
    shared = course.folder / "shared"
    shared.mkdir()
    variables = {"ONNXPACK_REMOTE_CACHE": f"file://{shared}"}
    course.say(CLUSTER)
    with running_machines(course.folder, WORKERS, **variables) as cluster:
        figures.task_seconds = _measure_tasks(cluster.address)
        killer = threading.Thread(target=_kill_midway, args=(course, cluster.kill), daemon=True)
        killer.start()
        command = [sys.executable, "-m", "onnxpack", "build", str(course.fleet), "--engine", "oci"]
        command += ["--base", str(course.base), "--output", str(course.folder / "dist-client"), "--json"]
        watched = run_watched(
            [*command, "--scheduler", cluster.url],
            {"ONNXPACK_CACHE": str(course.folder / "client"), **variables},
            beside=cluster.pids,
        )
    figures.runs[CLUSTER] = _summarize(watched)
    files = [path for path in shared.rglob("*") if path.is_file()]
    figures.shared_objects, figures.shared_bytes = len(files), sum(path.stat().st_size for path in files)
    course.say(FRESH)
    other = course.folder / "another place"
    shutil.copytree(course.fleet, other, symlinks=True)
    figures.runs[FRESH] = _summarize(course.build(other, "fresh", **variables))


def _measure_tasks(address: str) -> float:
    """Return the seconds that a task which does nothing takes on a cluster, of many at once."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        started = time.perf_counter()
        client.gather([client.submit(abs, number, pure=False) for number in range(_TASKS)])
        return (time.perf_counter() - started) / _TASKS


def _kill_midway(course: Course, kill: Callable[[str], None]) -> None:
    """Kill a worker once a part of the models is there."""
    while len(list((course.folder / "dist-client").glob("*/*/report.json"))) < course.count * _KILLED_AFTER:
        time.sleep(0.2)
    kill(WORKERS[0])


def _summarize(watched: Watched) -> Run:
    reports: list[dict[str, Any]] = json.loads(watched.out)
    made = [[stage for stage in report["stages"] if not stage["cached"]] for report in reports]
    built = sum(map(bool, made))
    heavy = sum(stage["name"] in _HEAVY for stages in made for stage in stages)
    return Run(watched.seconds, watched.cpu_seconds, watched.peak_bytes, built, len(reports) - built, heavy)


def _sum_stages(watched: Watched) -> dict[str, float]:
    """Return the seconds of each stage over all models, the longest first."""
    found: dict[str, float] = {}
    for report in json.loads(watched.out):
        for stage in report["stages"]:
            found[stage["name"]] = found.get(stage["name"], 0.0) + stage["seconds"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))
