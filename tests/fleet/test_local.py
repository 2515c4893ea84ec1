"""Jobs in processes of this machine: at once as far as there is room, and one that dies takes no other along."""

import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from onnxpack.core import interrupts
from onnxpack.fleet.events import AnyEvent, Finished, StageBegan, Started
from onnxpack.fleet.job import Job, Needs, Options
from onnxpack.fleet.local import LocalProcesses, order_jobs

_PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("onnxpack.fleet.process._MODULE", "fleet_stub")
    helpers = Path(__file__).parents[1] / "helpers"
    monkeypatch.setenv("PYTHONPATH", f"{helpers}{os.pathsep}{helpers.parents[1]}")


def make_jobs(folder: Path, *targets: str, memory: int = 1) -> list[Job]:
    options = Options(folder / "dist", "oci")
    return [
        Job(number, Path(f"{number}.yaml"), folder, f"m{number}", target, options, Needs(memory))
        for number, target in enumerate(targets)
    ]


def run(executor: LocalProcesses, jobs: list[Job]) -> tuple[dict[int, str], list[AnyEvent]]:
    events: list[AnyEvent] = []
    executor.run(jobs, events.append)
    return {event.job: event.outcome.state for event in events if isinstance(event, Finished)}, events


def test_a_process_does_one_job_after_another_and_tells_its_events_in_order(tmp_path: Path) -> None:
    states, events = run(LocalProcesses(1, 10), make_jobs(tmp_path, "pass", "pass", "fail"))
    assert states == {0: "built", 1: "built", 2: "failed"}
    assert len({event.worker for event in events if isinstance(event, Started)}) == 1
    kinds = [type(event).__name__ for event in events if event.job == 1]
    assert kinds == ["Started", "StageBegan", "StageEnded", "Finished"]


def test_jobs_run_at_once_as_far_as_there_are_workers(tmp_path: Path) -> None:
    assert set(run(LocalProcesses(2, 10), make_jobs(tmp_path, "meet", "meet"))[0].values()) == {"built"}
    assert set(run(LocalProcesses(1, 10), make_jobs(tmp_path, *["alone"] * 4))[0].values()) == {"built"}


def test_a_job_whose_peak_does_not_fit_waits_and_one_that_never_fits_runs_alone(tmp_path: Path) -> None:
    states, _ = run(LocalProcesses(3, 100), make_jobs(tmp_path, *["alone"] * 4, memory=60))
    assert set(states.values()) == {"built"}
    states, _ = run(LocalProcesses(3, 100), make_jobs(tmp_path, *["alone"] * 3, memory=600))
    assert set(states.values()) == {"built"}


def test_what_was_never_measured_counts_as_something(tmp_path: Path) -> None:
    states, _ = run(LocalProcesses(3, 10**9), make_jobs(tmp_path, *["alone"] * 3, memory=0))
    assert set(states.values()) == {"built"}


@pytest.mark.parametrize("how", ["die", "garbage"])
def test_a_process_that_dies_fails_its_own_job_alone(tmp_path: Path, how: str) -> None:
    states, events = run(LocalProcesses(2, 10), make_jobs(tmp_path, how, "pass", how, "pass", "pass"))
    assert states == {0: "failed", 1: "built", 2: "failed", 3: "built", 4: "built"}
    outcome = next(event.outcome for event in events if isinstance(event, Finished) and event.job == 0)
    error = outcome.error
    assert error
    assert (outcome.exit_code, error.exit_code) == (5, 5)
    assert "'m0', target 'die'" in str(error) or how != "die"
    assert "killed by SIGKILL" in str(error)
    assert how != "die" or error.problems[0].detail == "the last words"
    report = json.loads((tmp_path / "dist/m0" / how / "report.json").read_text())
    assert (report["status"], report["exit_code"], report["stage"]) == ("failed", 5, "process")


def test_a_report_that_a_dead_process_leaves_takes_no_place_of_another_spec(tmp_path: Path) -> None:
    place = tmp_path / "dist/m0/die"
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps({"spec": "../../../other.yaml", "status": "passed"}))
    run(LocalProcesses(1, 10), make_jobs(tmp_path, "die"))
    assert json.loads((place / "report.json").read_text())["status"] == "passed"


def test_after_a_cancel_nothing_begins_and_what_runs_is_ended(tmp_path: Path) -> None:
    executor = LocalProcesses(2, 10)
    events: list[AnyEvent] = []

    def tell(event: AnyEvent) -> None:
        events.append(event)
        if isinstance(event, Finished) and event.outcome.state == "failed":
            executor.cancel()

    executor.run(make_jobs(tmp_path, "hang", "fail", "pass", "pass"), tell)
    states = {event.job: event.outcome.state for event in events if isinstance(event, Finished)}
    assert states == {0: "cancelled", 1: "failed", 2: "cancelled", 3: "cancelled"}
    assert {event.job for event in events if isinstance(event, Started)} <= {0, 1}
    assert next(event.outcome for event in events if isinstance(event, Finished) and event.job == 3).exit_code == 0


def test_what_is_cancelled_before_it_runs_begins_nothing(tmp_path: Path) -> None:
    executor = LocalProcesses(2, 10)
    executor.cancel()
    states, events = run(executor, make_jobs(tmp_path, "pass", "pass"))
    assert states == {0: "cancelled", 1: "cancelled"}
    assert len(events) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    pids: list[int] = []

    def tell(event: AnyEvent) -> None:
        if isinstance(event, Started):
            pids.append(int(event.worker))
        if isinstance(event, StageBegan) and len(pids) == 2:
            threading.Thread(target=os.kill, args=(os.getpid(), number)).start()

    interrupts.heed_signals()
    try:
        with pytest.raises(KeyboardInterrupt):
            LocalProcesses(2, 10).run(make_jobs(tmp_path, "hang", "hang", "pass"), tell)
    finally:
        interrupts.heed_signals()
        for one, handler in handlers.items():
            signal.signal(one, handler)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_processes_end_with_the_command_however_that_ends(tmp_path: Path) -> None:
    """The real process, since the stand-in does not watch its parent."""
    code = (
        "import json, os, signal, sys\n"
        "from onnxpack.fleet.process import start_worker\n"
        "print(start_worker().process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    import subprocess
    import sys

    command = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert command.stdout
    pid = int(command.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    command.kill()
    command.wait()
    until = time.monotonic() + _PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
    command.stdout.close()
    assert command.stdin
    command.stdin.close()


def test_targets_of_one_spec_are_apart_and_long_ones_come_first(tmp_path: Path) -> None:
    options = Options(tmp_path, "oci")
    rows = [("a", "x", 1.0), ("a", "y", 9.0), ("b", "x", 5.0), ("b", "y", 2.0), ("c", "x", 0.0)]
    numbers = itertools.count()
    jobs = [
        Job(next(numbers), Path(spec), tmp_path, spec, target, options, Needs(seconds=seconds))
        for spec, target, seconds in rows
    ]
    ordered = [(job.name, job.target) for job in order_jobs(jobs)]
    assert ordered == [("b", "x"), ("a", "x"), ("c", "x"), ("a", "y"), ("b", "y")]
