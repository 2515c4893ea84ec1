"""Measure what the server is to reach: beside the bare model, under a steady load, and at rest."""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving.client import Job, Load
from benchmarks.serving.measure import Course, check_server
from benchmarks.serving.peers import (
    BENTOML,
    FASTAPI,
    GRANIAN,
    MLSERVER,
    OURS,
    PEERS,
    InstallError,
    Peer,
    make_command,
    prepare_environment,
)
from benchmarks.serving.processes import Server, ServerError, apply_load, find_port, run_server
from benchmarks.serving.raw_loop import Loop, Pace
from benchmarks.serving.workloads import BINARY, JSON, Workload

RAW_LOOP = Path(__file__).with_name("raw_loop.py")
CPUS = len(os.sched_getaffinity(0))
RATIOS = ((GRANIAN, 0.9), (MLSERVER, 10.0), (BENTOML, 30.0), (FASTAPI, 5.0))
"""How many times the rate of each peer, on the iris forest in JSON at 16 connections."""
RATIO_ROUNDS = 5
LOAD_SHARE = 0.8
IDLE_SECONDS = 5.0
BATCHES = (1, 2, 4, 8, 16, 32)
BATCH_CONNECTIONS = 32


@dataclass(frozen=True)
class Goal:
    """One goal, what was measured, and the share of it that was reached: 1 or more is met."""

    title: str
    measured: str
    reached: float | None
    """None: it could not be measured."""


@dataclass(frozen=True)
class Subjects:
    """What the goals are measured on."""

    iris: Workload
    cnn: Workload
    small_json: tuple[Workload, ...]
    """Requests of about 4 kB."""
    pixels: Workload
    dense: Workload


class Bench:
    """Servers of ours that run, and the loops beside them."""

    def __init__(self, course: Course, stack: ExitStack) -> None:
        self.course = course
        self._stack = stack

    def start(self, workload: Workload, peer: Peer = PEERS[0]) -> Server:
        """Start a server, ours by default, until all is measured."""
        port = find_port()
        python = prepare_environment(peer, workload.bundle, self.course.environments) if peer.file else Path()
        return self._stack.enter_context(run_server(*make_command(peer, workload.bundle, python, port), port))

    def ask(self, server: Server, workload: Workload, form: str, connections: int, rate: float = 0.0) -> Load:
        """Load a server of ours; the numbers of its answers are right."""
        file = check_server(PEERS[0], workload, form, self.course.folder, server.port)
        job = Job(server.port, str(file), connections, self.course.seconds, 2 * connections, rate=rate)
        return apply_load(job)

    def loop(self, workload: Workload, threads: int = 1, intra_op_threads: int = 1, batch: int = 1) -> Pace:
        """Run the bare model, with the packages that the server has."""
        file = self.course.folder / f"{workload.title}.npz"
        if not file.exists():
            np.savez(file, allow_pickle=False, **workload.inputs)
        bundle = workload.bundle
        loop = Loop(str(bundle.model), str(file), self.course.seconds, threads, intra_op_threads, batch)
        variables = bundle.environment | {"PYTHONPATH": str(bundle.packages)}
        command = [sys.executable, "-S", "-B", str(RAW_LOOP), json.dumps(asdict(loop))]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=True)
        return Pace(**json.loads(done.stdout))


def measure_goals(subjects: Subjects, course: Course, say: Callable[[str], None]) -> list[Goal]:
    """Measure all goals."""
    with ExitStack() as stack:
        say("the forest beside other servers")
        goals = measure_ratios(Bench(course, stack), subjects.iris)
    with ExitStack() as stack:
        bench = Bench(course, stack)
        say("what a request adds to session.run")
        goals += [measure_overhead(bench, workload, JSON, 0.15) for workload in subjects.small_json]
        goals.append(measure_overhead(bench, subjects.pixels, BINARY, 0.4))
        say("the throughput of a model of several milliseconds")
        goals.append(measure_throughput(bench, subjects.cnn))
        say("batches")
        goals.append(measure_batching(bench, subjects.dense))
        say("the slowest answers at 80 % load")
        goals += [measure_tail(bench, subjects.iris, JSON), measure_tail(bench, subjects.cnn, BINARY)]
        say("memory and rest")
        goals += measure_rest(bench, subjects.iris)
    return goals


def measure_ratios(bench: Bench, iris: Workload) -> list[Goal]:
    """Compare our rate with those of peers: all servers run, and are asked one after the other in each round."""
    jobs: dict[str, tuple[Server, Job]] = {}
    troubles: dict[str, str] = {}
    wanted = dict(RATIOS)
    for peer in PEERS:
        if peer.title != OURS and peer.title not in wanted:
            continue
        try:
            server = bench.start(iris, peer)
            file = check_server(peer, iris, JSON, bench.course.folder, server.port)
            jobs[peer.title] = server, Job(server.port, str(file), 16, bench.course.seconds, 32)
            apply_load(jobs[peer.title][1])
        except (InstallError, ServerError) as error:
            troubles[peer.title] = str(error)
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(RATIO_ROUNDS):
        for title in random.sample(sorted(jobs), len(jobs)):
            server, job = jobs[title]
            server.settle()
            rates[title].append(apply_load(job).rate)
    goals = []
    for title, least in RATIOS:
        text = f"{iris.title}, JSON, 16 connections: at least {least:g} x {title}"
        if not rates[title] or not rates[OURS]:
            goals.append(Goal(text, shorten(troubles.get(title) or troubles.get(OURS, "")), None))
            continue
        ratio = statistics.median(ours / other for ours, other in zip(rates[OURS], rates[title], strict=True))
        told = f"{ratio:.2f} x ({statistics.median(rates[OURS]):,.0f}; {statistics.median(rates[title]):,.0f}/s)"
        goals.append(Goal(text, told, ratio / least))
    return goals


def shorten(text: str) -> str:
    """Return text that fits into a table's cell, and names no folder of who measures."""
    text = " ".join(text.split()).replace("|", "/").replace(str(Path.home()), "~")
    return text if len(text) <= 100 else text[:99] + "…"


def measure_overhead(bench: Bench, workload: Workload, form: str, most: float) -> Goal:
    """Compare the median at one connection with that of the bare call, in turn."""
    server = bench.start(workload)
    served, bare = [], []
    bench.ask(server, workload, form, 1)
    for _ in range(bench.course.rounds):
        served.append(bench.ask(server, workload, form, 1).p50 * 1e3)
        bare.append(bench.loop(workload, 1, CPUS).p50 * 1e3)
    over = statistics.median(served) - statistics.median(bare)
    size = len(workload.write_body(form)[0])
    title = f"{workload.title}, {size / 1e3:.0f} kB of {form}, one connection: at most {most:g} ms over session.run"
    told = f"{over:.2f} ms ({statistics.median(served):.2f} - {statistics.median(bare):.2f})"
    return Goal(title, told, most / max(over, 1e-9))


def measure_throughput(bench: Bench, workload: Workload) -> Goal:
    """Compare the rate at 16 connections with the best loop of threads."""
    server = bench.start(workload)
    bench.ask(server, workload, BINARY, 16)
    ways = {(threads, intra) for threads in (1, CPUS) for intra in (1, CPUS)}
    loops: dict[tuple[int, int], list[float]] = defaultdict(list)
    served = []
    for _ in range(bench.course.rounds):
        served.append(bench.ask(server, workload, BINARY, 16).rate)
        for way in random.sample(sorted(ways), len(ways)):
            loops[way].append(bench.loop(workload, *way).rate)
    (threads, intra), best = max(
        ((way, statistics.median(rates)) for way, rates in loops.items()), key=lambda item: item[1]
    )
    share = statistics.median(served) / best
    title = f"{workload.title}, binary, 16 connections: at least 0.95 of the best loop of threads"
    told = f"{share:.2f} ({statistics.median(served):.1f}/s; {threads} x {intra} threads: {best:.1f}/s)"
    return Goal(title, told, share / 0.95)


def measure_batching(bench: Bench, workload: Workload) -> Goal:
    """Compare the rate at 32 connections with the best batch of a loop."""
    server = bench.start(workload)
    bench.ask(server, workload, JSON, BATCH_CONNECTIONS)
    loops: dict[int, list[float]] = defaultdict(list)
    served = []
    for _ in range(bench.course.rounds):
        served.append(bench.ask(server, workload, JSON, BATCH_CONNECTIONS).rate)
        for batch in random.sample(BATCHES, len(BATCHES)):
            loops[batch].append(bench.loop(workload, 1, CPUS, batch).rate)
    batch, best = max(((batch, statistics.median(rates)) for batch, rates in loops.items()), key=lambda item: item[1])
    share = statistics.median(served) / best
    title = f"{workload.title}, {BATCH_CONNECTIONS} connections, batching: at least 0.9 of the best static batch"
    without = "" if workload.bundle.complete else "without batching, which is not supported yet: "
    told = f"{without}{share:.2f} ({statistics.median(served):.0f}/s; batches of {batch}: {best:.0f}/s)"
    return Goal(title, told, share / 0.9)


def measure_tail(bench: Bench, workload: Workload, form: str) -> Goal:
    """Compare p99 with p50 under a steady load, as requests come at even distances."""
    server = bench.start(workload)
    bench.ask(server, workload, form, 16)
    ratios, loads = [], []
    for _ in range(bench.course.rounds):
        rate = LOAD_SHARE * bench.ask(server, workload, form, 16).rate
        server.settle()
        load = bench.ask(server, workload, form, 64, rate)
        loads.append(load)
        ratios.append(load.p99 / load.p50)
    ratio = statistics.median(ratios)
    load = sorted(loads, key=lambda one: one.p99 / one.p50)[len(loads) // 2]
    title = f"{workload.title}, {form}, {LOAD_SHARE:.0%} load: p99 at most 3 x p50"
    return Goal(title, f"{ratio:.1f} x ({load.p99 * 1e3:.2f}; {load.p50 * 1e3:.2f} ms)", 3 / ratio)


def measure_rest(bench: Bench, workload: Workload) -> list[Goal]:
    """Measure a server's memory after a load, and its CPU at rest."""
    server = bench.start(workload)
    for connections in (1, 16, 64):
        bench.ask(server, workload, JSON, connections)
    server.settle()
    peak, bare = server.read_peak(), bench.loop(workload, 1, CPUS).peak
    time.sleep(1)
    before = server.read_cpu()
    time.sleep(IDLE_SECONDS)
    idle = (server.read_cpu() - before) / IDLE_SECONDS
    return [
        Goal("CPU at rest: below 0.3 %", f"{idle:.2%}", 0.003 / max(idle, 1e-9)),
        Goal(
            "peak memory: at most a bare script's + 25 MB",
            f"+ {peak - bare:.1f} MB ({peak:.0f}; {bare:.0f} MB)",
            25 / max(peak - bare, 1e-9),
        ),
    ]
