"""A Dask scheduler and workers as processes of this machine that share no folder; tests use them too."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60.0


@dataclass
class Machines:
    """A scheduler with its workers, each of which has a store, a folder for temporary files and a log of its own."""

    folder: Path
    variables: Mapping[str, str]
    """What all of them get besides the variables of this process."""
    address: str = ""
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return what ``onnxpack build --scheduler`` is given."""
        return self.address.replace("tcp://", "dask://")

    @property
    def pids(self) -> list[int]:
        """Return the numbers of the processes that run."""
        return [process.pid for process in self.processes.values()]

    def start_scheduler(self) -> None:
        """Start the scheduler and wait for its address."""
        place = self.folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(place)]
        self._start("scheduler", ["scheduler", *options], {})
        wait_until(lambda: place.exists() and place.read_text().endswith("}"), "the scheduler")
        self.address = next(word for word in place.read_text().split('"') if word.startswith("tcp://"))

    def start_worker(self, name: str, *options: str, **variables: str) -> None:
        """Start a worker with one thread; it takes a moment until the scheduler knows it."""
        home = self.folder / name
        for part in ("tmp", "dask"):
            (home / part).mkdir(parents=True, exist_ok=True)
        own = {"ONNXPACK_CACHE": str(home / "store"), "TMPDIR": str(home / "tmp"), **variables}
        command = ["worker", self.address, "--name", name, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        self._start(name, [*command, "--no-nanny", "--local-directory", str(home / "dask"), *options], own)

    def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows a number of workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=_SECONDS)

    def kill(self, name: str) -> None:
        """Kill the scheduler or a worker, with no time to say goodbye."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def read_log(self, name: str) -> str:
        """Return what a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, command: list[str], variables: Mapping[str, str]) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | self.variables | variables
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *command], stdout=log, stderr=log, env=environment, cwd=self.folder
            )


@contextlib.contextmanager
def running_machines(folder: Path, names: tuple[str, ...], **variables: str) -> Iterator[Machines]:
    """Start a scheduler and a worker of each name, and end them."""
    machines = Machines(folder, variables)
    try:
        machines.start_scheduler()
        for name in names:
            machines.start_worker(name)
        if names:
            machines.wait_for_workers(len(names))
        yield machines
    finally:
        for name in list(machines.processes):
            machines.kill(name)


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Wait until a function returns something that counts as true.

    Raises:
        TimeoutError: that took a minute.
    """
    deadline = time.monotonic() + _SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took too long")
        time.sleep(0.05)
