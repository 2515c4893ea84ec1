"""Simulate a fleet of 100,000 specs from measured figures: what a build takes, and what it waits for.

A build is one client that prepares jobs and puts what they left in its place, one scheduler that hands tasks out, and
workers that build, each with its own store in front of one that all share. Nothing comes from a clock or by chance, so
the same figures give the same tables.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

SPECS = 100_000
REQUEST_PRICE, GET_PRICE, MONTH_PRICE = 5e-6, 4e-7, 0.023
"""Dollars of one writing request, of one reading request, and of a gigabyte for a month: list prices of S3."""
_RECENT = 7
"""Versions of each spec that the shared store keeps."""


@dataclass(frozen=True)
class Inputs:
    """What was measured; seconds and bytes are of one spec with one target, where nothing else is said."""

    job_seconds: tuple[float, ...]
    """How long jobs of several kinds take on a worker that has nothing of theirs; the kinds take turns."""
    unchanged_seconds: float
    """To see that a spec is unchanged."""
    start_seconds: float
    """Of the command itself."""
    client_seconds: float
    """To send a job and put what comes back in its place, on the machine of the command."""
    task_seconds: float
    """Of the scheduler, for a task."""
    shared_bytes: float
    """In the shared store."""
    shared_objects: float
    """In the shared store."""
    fresh_seconds: float
    """For a spec on a machine that has nothing but the shared store."""


@dataclass(frozen=True)
class Scene:
    """One way to build."""

    title: str
    specs: int
    changed: int
    workers: int
    """Builds at once on the cluster; of each part, if there are several."""
    parts: int = 1
    """Commands at once, each of which has a part of the specs and a cluster of its own."""


@dataclass(frozen=True)
class Result:
    """What a scene takes."""

    seconds: float
    plan_seconds: float
    """Until the first job is sent."""
    busy: float
    """The share of the time after that in which workers built."""
    limit: str
    """What more workers would wait for."""


SCENES = (
    Scene("nothing changed, one machine", SPECS, 0, 1),
    Scene("nothing changed, 20 parts", SPECS, 0, 1, 20),
    Scene("1 % changed, 2 cores", SPECS, SPECS // 100, 2),
    Scene("1 % changed, 50 workers", SPECS, SPECS // 100, 50),
    Scene("all changed, 2 cores", SPECS, SPECS, 2),
    Scene("all changed, 50 workers", SPECS, SPECS, 50),
    Scene("all changed, 500 workers", SPECS, SPECS, 500),
    Scene("all changed, 5000 workers", SPECS, SPECS, 5000),
    Scene("all changed, 20 parts with 250 workers each", SPECS, SPECS, 250, 20),
)


def simulate(scene: Scene, inputs: Inputs) -> Result:
    """Return what one part of a scene takes; the parts are alike."""
    specs, changed = (-(-number // scene.parts) for number in (scene.specs, scene.changed))
    plan = inputs.start_seconds + specs * inputs.unchanged_seconds
    end, busy = _run_jobs(changed, scene.workers, inputs)
    limits = {
        "workers": changed * _mean(inputs.job_seconds) / scene.workers,
        "the command's own machine": changed * inputs.client_seconds,
        "the scheduler": changed * inputs.task_seconds,
        "the look at what changed": plan,
    }
    share = busy / (end * scene.workers) if end else 0.0
    return Result(plan + end, plan, share, max(limits, key=lambda name: limits[name]))


def _run_jobs(count: int, workers: int, inputs: Inputs) -> tuple[float, float]:
    """Return when the last of some jobs is put in its place, and the seconds that workers built.

    The client does one thing at a time: it puts what came back in its place before it sends more.
    """
    if not count:
        return 0.0, 0.0
    durations, half = itertools.cycle(inputs.job_seconds), inputs.client_seconds / 2
    client = scheduler = busy = 0.0
    running: list[float] = []
    window, sent = 2 * workers, 0
    free = [0.0] * min(workers, count)
    heapq.heapify(free)
    while sent < count or running:
        # It sends as long as workers wait, and else first takes what has come back.
        waiting = not running or running[0] > client or len(running) < workers
        if sent < count and len(running) < window and waiting:
            client += half
            scheduler = max(scheduler, client) + inputs.task_seconds
            begun, duration = max(heapq.heappop(free), scheduler), next(durations)
            busy += duration
            heapq.heappush(free, begun + duration)
            heapq.heappush(running, begun + duration)
            sent += 1
        else:
            client = max(client, heapq.heappop(running)) + half
    return client, busy


def describe_costs(inputs: Inputs, specs: int = SPECS) -> dict[str, float]:
    """Return the size of a shared store, the requests that fill and read it, and what a provider asks for that."""
    stored = specs * inputs.shared_bytes * _RECENT
    objects = specs * inputs.shared_objects
    return {
        "gigabytes": stored / 1e9,
        "dollars a month": stored / 1e9 * MONTH_PRICE,
        "objects of one full build": objects,
        "dollars to write them": objects * REQUEST_PRICE,
        "dollars to read them": objects * GET_PRICE,
    }


def simulate_all(inputs: Inputs, scenes: Sequence[Scene] = SCENES) -> list[tuple[Scene, Result]]:
    """Return the results of all scenes."""
    return [(scene, simulate(scene, inputs)) for scene in scenes]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
