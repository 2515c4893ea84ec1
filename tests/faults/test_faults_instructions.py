"""Ctrl-C at any instruction of what makes and puts away folders, locks, entries and outputs.

The steps of a build that ``test_faults_kills`` interrupts are calls; what lies between two of them is here.
"""

import contextlib
import gc
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onnxpack.cache import store
from onnxpack.core import interrupts, output, scratch

SWEPT = re.compile(r"\.onnxpack-.*")
TRACED = {module.__file__ for module in (contextlib, interrupts, output, scratch, store)}


@pytest.fixture
def heeded() -> Iterator[None]:
    """Let signals be heeded as in a command, and give back what the tests had."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    interrupts.heed_signals()  # nothing came, and nothing is on its way
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_to_instruction(work: Callable[[], None], at: int) -> int:
    """Run as a command does, with ctrl-C at an instruction of what holds things; return how many were begun."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in TRACED:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == at:
                signal.raise_signal(signal.SIGINT)
        return trace

    interrupts.heed_signals()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    interrupts.ignore_signals()
    interrupts.put_away_all()
    gc.collect()  # a generator that was interrupted is closed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.heed_signals()
    return count


def interrupt_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one more ctrl-C come in the midst of each removal."""

    def often(call: Callable[..., None]) -> Callable[..., None]:
        def again(*arguments: Any, **options: Any) -> None:
            if interrupts.was_interrupted():
                signal.raise_signal(signal.SIGINT)
            call(*arguments, **options)

        return again

    monkeypatch.setattr(shutil, "rmtree", often(shutil.rmtree))
    monkeypatch.setattr(os, "unlink", often(os.unlink))


@pytest.mark.case("B14")
@pytest.mark.usefixtures("heeded")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_interrupt_at_any_instruction_leaves_nothing_that_was_held(
    tmp_path: Path, twice: bool, factor: int, count_attacks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(folder: Path) -> None:
        cache = store.Store(folder / "store")
        with output.replacing(folder / "dist/cpu") as fresh, cache.alone("stage", "base"):
            with cache.making("stage", "key") as made:
                (made / "file").write_text("new")
            (fresh / "file").write_text("new")

    def attack(number: int, at: int) -> int:
        folder = tmp_path / str(number)
        (folder / "dist/cpu").mkdir(parents=True)
        (folder / "dist/cpu/file").write_text("old")
        count = run_to_instruction(lambda: work(folder), at)
        what = f"instruction {at}"
        assert [path for path in folder.rglob("*") if SWEPT.fullmatch(path.name)] == [], what
        assert list(folder.glob("store/locks/*")) == [], what
        assert (folder / "dist/cpu/file").read_text() in ("old", "new"), what
        entry = store.Store(folder / "store").get("stage", "key")
        assert entry is None or (entry / "file").read_text() == "new", what
        return count

    gc.freeze()  # else each collection looks at all that the tests have imported
    total = attack(0, 0)
    if twice:
        interrupt_often(monkeypatch)
    moments = random.Random(14).sample(range(1, total + 1), min(total, 200 * factor))
    for number, at in enumerate(moments, 1):
        attack(number, at)
        shutil.rmtree(tmp_path / str(number))
    gc.unfreeze()
    count_attacks(len(moments))
