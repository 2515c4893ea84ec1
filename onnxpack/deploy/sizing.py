"""Work out what a Pod needs, and how many, from what the build measured.

Memory: the most that the server ever held, what its limits let bodies of requests take besides, and what a further
client adds for every one that was not there, plus a fifth. CPU: what it used at its highest rate is requested, and the
CPUs that it had are the limit, from which the server takes its threads. The load of a Pod is the rate at which the
predicted p99 keeps to its goal; the same share of the requested CPU is what the autoscaler aims at.
"""

import math
from dataclasses import dataclass

from onnxpack.core.errors import SpecError
from onnxpack.core.text import format_time
from onnxpack.deploy.builds import Build
from onnxpack.timing.load import HELD_OUT
from onnxpack.timing.queueing import Load, find_rate, predict_p99

_MIB = 2**20
_MEMORY_STEP = 16 * _MIB
_MEMORY_MARGIN = 1.2
_LEAST_BODIES = 16 * _MIB
"""The bytes of bodies that a server takes at least, as docs/serving.md says; else twice ``runtime.max_body``."""
_UNKNOWN_PEAK = 256 * _MIB
"""Of an image that was not measured: what onnxruntime, numpy and a small model take, and as much again."""
_CPU_STEP = 50
"""Millicores."""
_LEAST_CPU = 100
_BUSIEST = 0.85
"""The share of its capacity that no Pod is planned for: a prediction this close to it says little."""
_LEAST_REPLICAS, _MOST_REPLICAS = 2, 10
_HEADROOM = 2
"""How many times the planned number of Pods the autoscaler may reach."""
_UNKNOWN_UTILISATION = 65


@dataclass(frozen=True)
class Goals:
    """What the whole deployment is to answer: requests per second, and the time that 99 of 100 keep to."""

    rate: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class Sizing:
    """What each Pod asks for, and how many there are."""

    cpu_request: int
    """Millicores."""
    cpu_limit: int
    """Whole CPUs; a server with ``threads: auto`` has as many threads."""
    memory: int
    """MiB, for the request and the limit alike."""
    threads: int
    """The threads that run the model in each of the server's processes."""
    min_replicas: int
    max_replicas: int
    utilisation: int
    """The percentage of the requested CPU that the autoscaler aims at."""
    planned_rate: float | None
    """Requests per second of a Pod; None where no load was measured."""
    capacity: float | None
    planned_p99: float | None
    """Seconds, as predicted at the planned rate."""
    notes: tuple[str, ...] = ()


def make_sizing(build: Build, goals: Goals) -> Sizing:
    """Work out the needs of a build's Pods.

    Raises:
        SpecError: a goal cannot be reached, or nothing was measured to judge it by.
    """
    load, serving = build.figures.load, build.serving
    if load is None:
        return _guess(build, goals)
    planned = _plan_rate(build, load, goals)
    used = load.capacity * load.cpu_seconds
    cpu_limit = max(min(math.ceil(used * 1.5), load.cores), 1, (serving.threads or 1) * serving.workers)
    low, high = _plan_replicas(goals.rate, planned)
    return Sizing(
        cpu_request=min(max(_round_up(used * 1000, _CPU_STEP), _LEAST_CPU), cpu_limit * 1000),
        cpu_limit=cpu_limit,
        memory=_plan_memory(build),
        threads=serving.threads or max(cpu_limit // serving.workers, 1),
        min_replicas=low,
        max_replicas=high,
        utilisation=max(round(100 * planned / load.capacity), 1),
        planned_rate=planned,
        capacity=load.capacity,
        planned_p99=predict_p99(load, planned),
        notes=_list_notes(load),
    )


def _plan_rate(build: Build, load: Load, goals: Goals) -> float:
    """Return the requests per second that a Pod is planned for."""
    if goals.p99 is None:
        return load.capacity * HELD_OUT
    rate = min(find_rate(load, goals.p99), load.capacity * _BUSIEST)
    if rate < load.capacity / 100:
        alone = format_time(predict_p99(load, 0.0))
        raise SpecError(
            f"{build.label}: a p99 of {format_time(goals.p99)} cannot be kept: one request alone takes {alone}",
            "give a longer --p99, or make the model faster",
        )
    return rate


def _plan_replicas(rate: float | None, planned: float) -> tuple[int, int]:
    if rate is None:
        return _LEAST_REPLICAS, _MOST_REPLICAS
    wanted = max(math.ceil(rate / planned), _LEAST_REPLICAS)
    return wanted, wanted * _HEADROOM


def _plan_memory(build: Build) -> int:
    """Return the MiB of a Pod."""
    figures, load = build.figures, build.figures.load
    peak = figures.peak_rss_bytes or _UNKNOWN_PEAK + 2 * build.model.stat().st_size
    bodies = max(2 * build.serving.max_body_bytes, _LEAST_BODIES)
    clients = 0.0
    if load:
        clients = load.bytes_per_client * max(point.clients for point in load.points)
    return _round_up((peak + bodies + clients) * _MEMORY_MARGIN, _MEMORY_STEP) // _MIB


def _guess(build: Build, goals: Goals) -> Sizing:
    """Return what is usual where no load was measured; goals cannot be judged then."""
    asked = [name for name, value in (("--rate", goals.rate), ("--p99", goals.p99)) if value is not None]
    if asked:
        hint = f"build it to the smoke test, on a machine of its kind and with `runtime.load_test`; or omit {asked[0]}"
        raise SpecError(f"{build.label}: its build measured no load to judge {' and '.join(asked)} by", hint)
    serving = build.serving
    cpus = (serving.threads or 1) * serving.workers
    return Sizing(
        cpu_request=cpus * 1000,
        cpu_limit=cpus,
        memory=_plan_memory(build),
        threads=serving.threads or 1,
        min_replicas=_LEAST_REPLICAS,
        max_replicas=_MOST_REPLICAS,
        utilisation=_UNKNOWN_UTILISATION,
        planned_rate=None,
        capacity=None,
        planned_p99=None,
        notes=("The build measured no load: CPU and the autoscaler's aim are guesses.",),
    )


def _list_notes(load: Load) -> tuple[str, ...]:
    """Return what makes the figures less than they say."""
    if load.other_cpus < load.cores / 4:
        return ()
    words = f"Other programs used {load.other_cpus:.1f} CPUs while the load was measured: build on a quiet machine."
    return (words,)


def _round_up(value: float, step: int) -> int:
    return math.ceil(value / step) * step
