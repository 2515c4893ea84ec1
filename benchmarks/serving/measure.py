"""Measure all servers with all models: in turn, in an order drawn anew in each round."""

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.client import Job
from benchmarks.serving.peers import PEERS, InstallError, Peer, make_command, prepare_environment
from benchmarks.serving.processes import Server, ServerError, apply_load, ask_once, find_port, run_server
from benchmarks.serving.workloads import Workload

WARM_SECONDS = 0.3
"""Load before a measurement, for what servers set up lazily."""


class Cell(NamedTuple):
    """What is measured."""

    workload: str
    form: str
    connections: int
    peer: str


class Sample(NamedTuple):
    """One measurement, or the medians of several; times in milliseconds, memory in megabytes."""

    rate: float
    p50: float
    p99: float
    cpu: float
    peak: float
    client_cpu: float


@dataclass
class Figures:
    """All that was measured, and what could not be."""

    samples: dict[Cell, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    troubles: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """By workload, form and peer."""
    rounds: int = 0
    """Of those wanted, those for which there was time."""

    def find_median(self, cell: Cell) -> Sample | None:
        """Return the medians of a cell."""
        samples = self.samples.get(cell)
        if not samples:
            return None
        return Sample(*(statistics.median(column) for column in zip(*samples, strict=True)))


@dataclass(frozen=True)
class Course:
    """How to measure."""

    forms: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    """Of each measurement."""
    minutes: float
    """For all rounds: none begins that is likely to end later."""
    folder: Path
    """For requests."""
    environments: Path


def measure_all(workloads: list[Workload], peers: list[Peer], course: Course, say: Callable[[str], None]) -> Figures:
    """Measure, and go on where a server fails."""
    figures = Figures()
    pythons: dict[str, Path] = {}
    for peer in peers:
        try:
            if peer.file:
                say(f"preparing {peer.title}")
                pythons[peer.title] = prepare_environment(peer, workloads[0].bundle, course.environments)
        except InstallError as error:
            for workload in workloads:
                for form in course.forms:
                    figures.troubles[workload.title, form, peer.title] = f"cannot be installed: {error}"
            peers = [other for other in peers if other is not peer]
    pairs = [(peer, workload) for peer in peers for workload in workloads]
    began = time.monotonic()
    for number in range(course.rounds):
        if number and (time.monotonic() - began) * (number + 1) / number > course.minutes * 60:
            say(f"there is no time for more than {number} rounds")
            break
        for index, (peer, workload) in enumerate(random.sample(pairs, len(pairs))):
            say(f"round {number + 1} of {course.rounds}, {index + 1} of {len(pairs)}: {peer.title}, {workload.title}")
            try:
                measure_server(peer, workload, pythons.get(peer.title, Path()), course, figures)
            except ServerError as error:
                for form in course.forms:
                    figures.troubles[workload.title, form, peer.title] = str(error)
        figures.rounds = number + 1
    return figures


def measure_server(peer: Peer, workload: Workload, python: Path, course: Course, figures: Figures) -> None:
    """Start a server, and measure it with all forms and numbers of connections, in random order."""
    port = find_port()
    forms = [form for form in course.forms if form in peer.paths]
    for form in set(course.forms) - set(forms):
        figures.troubles[workload.title, form, peer.title] = "has no such form"
    with run_server(*make_command(peer, workload.bundle, python, port), port) as server:
        cells = [(form, connections) for form in forms for connections in course.connections]
        checked: dict[str, Path] = {}
        for form, connections in random.sample(cells, len(cells)):
            try:
                if form not in checked:
                    checked[form] = check_server(peer, workload, form, course.folder, port)
                sample = measure_cell(server, checked[form], connections, course.seconds)
            except ServerError as error:
                figures.troubles[workload.title, form, peer.title] = str(error)
                continue
            figures.samples[Cell(workload.title, form, connections, peer.title)].append(sample)


def check_server(peer: Peer, workload: Workload, form: str, folder: Path, port: int) -> Path:
    """See that the numbers of an answer are right; return the file of the request.

    Raises:
        ServerError: no answer, or a wrong one.
    """
    request = workload.write_request(form, peer.paths[form].format(name=workload.bundle.name))
    body, json_length = ask_once(port, request)
    if wrong := workload.check_answer(body, json_length):
        raise ServerError(wrong)
    file = folder / f"{workload.title}-{form}-{peer.file or 'ours'}.request"
    file.write_bytes(request)
    return file


def measure_cell(server: Server, request: Path, connections: int, seconds: float) -> Sample:
    """Measure one number of connections, each of which is answered at least once."""
    server.settle()
    apply_load(Job(server.port, str(request), connections, min(WARM_SECONDS, seconds), connections))
    server.settle()
    before = server.read_cpu()
    load = apply_load(Job(server.port, str(request), connections, seconds, 2 * connections))
    used = server.read_cpu() - before
    return Sample(
        rate=load.rate,
        p50=load.p50 * 1e3,
        p99=load.p99 * 1e3,
        cpu=used / load.answers * 1e3,
        peak=server.read_peak(),
        client_cpu=load.cpu / load.answers * 1e3,
    )


def select_peers(words: list[str]) -> list[Peer]:
    """Return the peers whose title has one of the words; all without any."""
    return [peer for peer in PEERS if not words or any(word.lower() in peer.title.lower() for word in words)]
