"""Signals wait where they must, are raised once, and what was held is put away."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpack.core import interrupts
from onnxpack.core.errors import EngineError
from onnxpack.core.interrupts import (
    afterwards,
    count_signals,
    holding,
    put_away_all,
    uninterrupted,
    was_interrupted,
)
from onnxpack.core.scratch import make_temporary_folder


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.heed_signals()
    yield
    interrupts.heed_signals()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_a_block_that_is_not_to_be_interrupted_waits_for_its_end(number: signal.Signals) -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(number)
            done.append("inner")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner"]
    assert was_interrupted()


def test_signal_that_code_has_swallowed_is_raised_again() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # as in a destructor, out of which no exception comes
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        pass


def test_second_signal_while_things_are_put_away_is_not_raised() -> None:
    done = []

    def put_away(thing: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append(thing)

    def work() -> None:
        with holding(lambda: "outer", put_away):
            try:
                with holding(lambda: "inner", put_away):
                    signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)
                done.append("between")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "between", "outer"]


def test_thing_whose_block_was_never_entered_is_put_away_in_the_end() -> None:
    done: list[str] = []
    held = [holding(lambda name=name: name, done.append) for name in ("first", "second")]
    for one in held:
        one.__enter__()
    put_away_all()
    assert done == ["second", "first"]
    for one in reversed(held):
        one.__exit__(None, None, None)
    assert done == ["second", "first"], "each once"


def test_failure_of_the_engine_afterwards_hides_no_other_one_and_is_told_alone() -> None:
    def fail() -> None:
        raise EngineError("the engine went away")

    with pytest.raises(ValueError, match="the first"), afterwards(fail):
        raise ValueError("the first")
    with pytest.raises(EngineError, match="went away"), afterwards(fail):
        pass


IGNORED = """
import signal
from onnxpack.core import interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupts.heed_signals()
signal.raise_signal(signal.SIGINT)
print("goes on")
"""


def test_ctrl_c_that_was_ignored_from_the_start_stays_so(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, check=True)
    assert ended.stdout == "goes on\n"


def test_signals_are_counted_also_while_they_disturb_nothing() -> None:
    counts = []

    def put_away(_: None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
            counts.append(count_signals())

    with pytest.raises(KeyboardInterrupt), holding(lambda: None, put_away):
        signal.raise_signal(signal.SIGINT)
    assert counts == [2, 3]
    interrupts.heed_signals()
    assert count_signals() == 0


def test_interrupt_while_the_folder_for_temporary_files_is_looked_for_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python writes a file of its own there and removes it, the first time that it is asked."""
    remove, removed = os.unlink, []

    def interrupt(path: str) -> None:
        removed.append(path)
        signal.raise_signal(signal.SIGINT)
        remove(path)

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "unlink", interrupt)
    with pytest.raises(KeyboardInterrupt), make_temporary_folder():
        pass
    assert len(removed) == 1
    assert list(tmp_path.iterdir()) == []
