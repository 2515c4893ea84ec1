"""Transfers run together, and end together."""

import threading
from collections.abc import Callable

import pytest
from told import Told

from onnxpack.core.errors import EngineError
from onnxpack.oci.registry import Stopped
from onnxpack.oci.transfers import AT_ONCE, Meter, run_together, showing


def test_all_tasks_run_a_few_at_once() -> None:
    meter, running, most = Meter(), Meter(), []
    together = threading.Barrier(AT_ONCE)

    def task() -> None:
        running.add(1)
        together.wait(20)
        most.append(running.moved)
        together.wait(20)
        running.add(-1)
        meter.add(1)

    run_together([task] * (2 * AT_ONCE), threading.Event())
    assert (meter.moved, max(most)) == (2 * AT_ONCE, AT_ONCE)
    run_together([], threading.Event())


def test_one_that_fails_ends_the_others() -> None:
    stop, done = threading.Event(), []

    def fail() -> None:
        raise EngineError("it broke")

    def wait() -> None:
        stop.wait(20)
        raise Stopped

    tasks: list[Callable[[], None]] = [wait, fail, *[lambda: done.append(1)] * 0, wait, wait, wait]
    with pytest.raises(EngineError, match="it broke"):
        run_together(tasks, stop)
    assert stop.is_set()


def test_what_has_moved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.oci.transfers._PERIOD", 0.01)
    told, meter = Told(), Meter()
    seen = threading.Event()
    monkeypatch.setattr(told, "note", lambda text: (told.lines.append(text), seen.set()))
    with showing(told, meter, 3_000_000, "sent"):
        meter.add(1_500_000)
        assert seen.wait(20)
    assert told.lines == ["sent 1.5 MB of 3.0 MB"]
