"""Jobs on a real cluster of Dask: a scheduler and workers as processes that share no folder, killed in the middle."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet.cluster import ROOT, Machines, running_machines, wait_until
from benchmarks.fleet.specs import make_work_tree, write_spec
from onnxpack import __version__
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.fleet.cluster import Cluster
from onnxpack.fleet.dask import DaskCluster
from onnxpack.fleet.events import AnyEvent, Finished, Noted, StageBegan, Started
from onnxpack.fleet.here import ThisProcess
from onnxpack.fleet.job import Job, Needs, Options, Outcome
from onnxpack.fleet.peaks import list_descendants
from onnxpack.pipeline.stores import open_shared

pytest.importorskip("distributed", reason="Dask is not installed: no cluster to build on")

ONNX = (1, 5, 7)
"""The numbers of specs of the fleet that need onnx alone."""


class Heard:
    """What an executor told."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []

    def __call__(self, event: AnyEvent) -> None:
        self.events.append(event)

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return {event.job: event.outcome for event in self.events if isinstance(event, Finished)}

    def list_problems(self, job: int) -> str:
        return "; ".join(problem["message"] for problem in self.outcomes[job].document.get("problems", ()))


def make_jobs(folder: Path, output: str = "dist", until: str = "verify", needs: Needs | None = None) -> list[Job]:
    """Make jobs that no other test has built."""
    options = Options(folder / output, "oci", until, settings=(f"verify.seed={zlib.crc32(folder.name.encode())}",))
    fleet = folder / "fleet"
    make_work_tree(fleet)
    files = [write_spec(fleet, place).relative_to(fleet) for place in ONNX]
    return [
        Job(number, file, fleet, file.parent.name, "cpu", options, needs or Needs())
        for number, file in enumerate(files)
    ]


def read_outputs(folder: Path) -> dict[str, Any]:
    """Return the bytes of all outputs; of reports only what does not tell of time, and not the pages made of them."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"):
        name = str(path.relative_to(folder))
        found[name] = path.read_bytes()
        if path.name == "report.json":
            report = json.loads(path.read_text())
            found[name] = {key: report[key] for key in ("name", "spec", "status", "model", "parity", "chain")}
    return found


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Three workers with a shared store, which this process has too."""
    folder = tmp_path_factory.mktemp("machines")
    shared = {"ONNXPACK_REMOTE_CACHE": f"file://{folder / 'shared'}"}
    (folder / "shared").mkdir()
    with pytest.MonkeyPatch.context() as patch, running_machines(folder, ("w1", "w2", "w3"), **shared) as running:
        for name, value in shared.items():
            patch.setenv(name, value)
        yield running


def run_all(machines: Machines, jobs: list[Job], store: Path, then: Callable[..., None] | None = None) -> Heard:
    """Run jobs; ``then`` is called with the executor and the first event of a worker that begins one."""
    heard = Heard()
    own = Store(store, shared=open_shared(store, lambda line: None))
    with contextlib.closing(DaskCluster(machines.url, own, patience=0.1)) as executor:

        def tell(event: AnyEvent) -> None:
            heard(event)
            if isinstance(event, Started) and then and not any(isinstance(one, Started) for one in heard.events[:-1]):
                then(executor, event)

        executor.run(jobs, tell)
    return heard


def list_states(heard: Heard) -> list[str]:
    return [outcome.state for _, outcome in sorted(heard.outcomes.items())]


def test_a_cluster_makes_what_this_machine_makes(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs(tmp_path, "there", "optimize")
    heard = run_all(machines, jobs, tmp_path / "client")
    assert list_states(heard) == ["built"] * 3, heard.list_problems(0)
    monkeypatch.chdir(jobs[0].folder)
    ThisProcess(Store(tmp_path / "own")).run(make_jobs(tmp_path, "here", "optimize"), lambda event: None)
    there = read_outputs(tmp_path / "there")
    assert there == read_outputs(tmp_path / "here")
    assert len([name for name in there if name.endswith("model.onnx")]) == 3
    assert str(machines.folder) not in json.dumps([outcome.document for outcome in heard.outcomes.values()])
    assert list((machines.folder / "shared").rglob("*export*"))  # what a worker made, the others need not make
    kinds = {type(event) for event in heard.events if event.job == 0}
    assert {Started, StageBegan, Finished} <= kinds


def test_a_cancelled_command_leaves_no_process_and_no_output(machines: Machines, tmp_path: Path) -> None:
    heard = run_all(machines, make_jobs(tmp_path), tmp_path / "client", lambda executor, event: executor.cancel())
    assert "cancelled" in list_states(heard)
    assert len(heard.outcomes) == 3
    workers = [process.pid for name, process in machines.processes.items() if name != "scheduler"]
    wait_until(lambda: not any(map(list_descendants, workers)), "the end of the jobs' processes")
    left = {outcome.document["name"] for outcome in heard.outcomes.values() if outcome.state == "cancelled"}
    assert not [name for name in left if (tmp_path / "dist" / name).exists()]
    assert not list(machines.folder.glob("w*/tmp/.onnxpack-*/*"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_command_that_is_ended_leaves_nothing_on_the_workers(
    machines: Machines, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    jobs = make_jobs(tmp_path)
    command = [sys.executable, "-m", "onnxpack", "build", str(jobs[0].folder), "--scheduler", machines.url]
    command += ["--until", "verify", "--output", str(tmp_path / "dist"), "--set", jobs[0].options.settings[0]]
    variables = os.environ | {"ONNXPACK_CACHE": str(tmp_path / "client"), "PYTHONPATH": str(ROOT)}
    workers = [process.pid for name, process in machines.processes.items() if name != "scheduler"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(map(list_descendants, workers)), "the begin of a job")
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == status, told
    assert "Traceback" not in told
    wait_until(lambda: not any(map(list_descendants, workers)), "the end of the jobs' processes")
    assert not list((tmp_path / "dist").glob("*/*"))


def test_a_worker_that_is_killed_at_a_job_costs_the_job_another_try(machines: Machines, tmp_path: Path) -> None:
    killed: list[str] = []

    def kill(executor: DaskCluster, event: Started) -> None:
        machines.kill(event.worker)
        killed.append(event.worker)

    heard = run_all(machines, make_jobs(tmp_path), tmp_path / "client", kill)
    machines.start_worker(killed[0])
    machines.wait_for_workers(3)
    assert list_states(heard) == ["built"] * 3
    begun = [event.job for event in heard.events if isinstance(event, Started)]
    assert len(begun) > len(set(begun)) == 3


def test_an_answer_that_dies_with_its_worker_is_made_again(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather, killed = Cluster.gather, []

    def kill_and_gather(cluster: Cluster, future: Any) -> bytes:
        if not killed:
            (place,) = cluster._client.who_has([future]).values()
            workers = [name for name in machines.processes if name != "scheduler"]
            name = next(name for name in workers if place[0] in machines.read_log(name))
            killed.append(name)
            machines.kill(name)
        return gather(cluster, future)

    monkeypatch.setattr(Cluster, "gather", kill_and_gather)
    heard = run_all(machines, make_jobs(tmp_path)[:1], tmp_path / "client")
    machines.start_worker(killed[0])
    machines.wait_for_workers(3)
    assert list_states(heard)[0] in ("built", "unchanged"), heard.list_problems(0)
    assert len(killed) == 1


def test_a_job_that_no_worker_can_build_is_told_and_does_not_wait_for_ever(machines: Machines, tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, needs=Needs(gpu=True, isa="avx512-vnni"))[:1]
    heard = run_all(machines, jobs, tmp_path / "client")
    told = "no worker of the cluster offers onnxpack-gpu=1 onnxpack-isa-avx512-vnni=1"
    assert heard.list_problems(0) == told
    assert [event.text for event in heard.events if isinstance(event, Noted)] == [f"{told}: waiting 0.1 s for one"]
    machines.start_worker("w4", "--resources", "onnxpack-gpu=1 onnxpack-isa-avx512-vnni=1")
    machines.wait_for_workers(4)
    again = run_all(machines, jobs, tmp_path / "client")
    machines.kill("w4")
    assert [event.worker for event in again.events if isinstance(event, Started)] == ["w4"]
    assert list_states(again) == ["built"]


def test_a_worker_of_another_version_is_named_before_anything_runs(machines: Machines, tmp_path: Path) -> None:
    info = tmp_path / "other/onnxpack-9.9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxpack\nVersion: 9.9.9\n")
    machines.start_worker("w5", PYTHONPATH=f"{info.parent}:{ROOT}")
    machines.wait_for_workers(4)
    with pytest.raises(EngineError, match=rf"has onnxpack 9\.9\.9, and this is onnxpack {re.escape(__version__)}"):
        run_all(machines, make_jobs(tmp_path), tmp_path / "client")
    machines.kill("w5")
    assert not (tmp_path / "dist").exists()


def test_a_scheduler_that_is_gone_is_a_typed_error(tmp_path: Path) -> None:
    with running_machines(tmp_path, ("w1",)) as machines:
        jobs = make_jobs(tmp_path)
        with pytest.raises(EngineError, match=r"the scheduler at dask://.* is gone") as caught:
            run_all(machines, jobs, tmp_path / "client", lambda executor, event: machines.kill("scheduler"))
        assert caught.value.exit_code == 5
        worker = machines.processes["w1"].pid
        wait_until(lambda: not list_descendants(worker), "the end of the job's process")
        with pytest.raises(EngineError, match="no scheduler of Dask answers at dask://"):
            run_all(machines, jobs, tmp_path / "client")
    assert not list((tmp_path / "dist").glob("*/*"))
