"""What all fuzzed documents share: their mutation, and the judge of what a reader made of one."""

import copy
import json
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from onnxpack.cli.failure import describe
from onnxpack.core.errors import BY_EXIT_CODE, OnnxpackError

PATIENCE = 60.0
"""Seconds of the processor after which a reader hangs."""
_IDLE = 10
"""How many times as long it may wait: a test must not fail because the machine is busy."""
_MEGABYTE = 2**20
TOKENS = (
    b"&a", b"*a", b"<<: ", b"!!python/object ", b"---\n", b"[", b"]", b"{", b"}", b": ", b"- ", b"'", b'"', b"#",
    b"|\n", b">\n", b"\t", b"\x00", b"\xff", b"\xe2\x80\xa8", b"0x", b"1e999", b"-1", b"9" * 50, b"9" * 5000, b"null",
    b"yes", b"~", b"${A}", b"../", b"\n", b"  ", b"\\ud800", b"\\u0000", b"[" * 3000, b"\xff\xff\xff\xff\x0f", b"NaN",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, float("inf"), float("nan"), "", "\0",
    "\ud800", "a\nb", "x" * 5000, "/dev/zero", "../..", ".", "/", "9" * 5000, "\u202e", "~", "no", "1e3", [], {}, [[]],
    [None], {"": None}, {"a": {"b": []}}, ["a", "a"],
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of document: who makes one at random, and the reader of the package that gets it."""

    name: str
    make: Callable[[random.Random, Path], None]
    """Fills an empty folder."""
    read: Callable[[Path], bool]
    """Reads what is in the folder, which stays as it is; gives whether it was taken."""
    share: int = 1
    """How many of them there are among all documents, by comparison."""
    native: bool = False
    """The package does it in a child process, which native code may take down."""
    allowed: tuple[type[Exception], ...] = ()
    """What the reader raises besides typed errors, as its docstring says."""
    allowance: int = 50
    """How many megabytes a reader may take besides ten times the document's."""


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a document; ``failure`` is empty where that is as it should be."""

    accepted: bool
    failure: str
    milliseconds: float
    peak: float
    """By how many megabytes the process grew."""


class Hang(BaseException):
    """A reader took longer than it may; no ``except Exception`` of a reader catches it."""


def judge(kind: Kind, folder: Path, patience: float = PATIENCE) -> Outcome:
    """Let the reader have the document, and judge its answer, its time and its memory."""
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / _MEGABYTE
    most = kind.allowance + 10 * size
    outcome = _read(kind, folder, patience)
    if not outcome.failure and outcome.peak > most:
        outcome = _read(kind, folder, patience)  # the first time it imported what it needs
        if not outcome.failure and outcome.peak > most:
            words = f"it took {outcome.peak:.0f} MB of memory for {size:.3f} MB"
            outcome = Outcome(outcome.accepted, words, outcome.milliseconds, outcome.peak)
    return outcome


def judge_made(kind: Kind, chance: random.Random, patience: float = PATIENCE) -> Outcome:
    """Make a document in a temporary folder and judge what comes of it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        kind.make(chance, Path(name))
        return judge(kind, Path(name), patience)


def _read(kind: Kind, folder: Path, patience: float) -> Outcome:
    failure, accepted = "", False
    before = _reset_peak()
    started = time.perf_counter()
    try:
        with _bounded(patience):
            accepted = kind.read(folder)
    except OnnxpackError as error:
        failure = _misses(error)
    except kind.allowed:
        accepted = False
    except Hang:
        failure = f"it took more than {patience:g} s"
    except BaseException as error:  # a panic of Rust code is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        failure = f"{type(error).__name__}: {error}"[:1000]
    took = time.perf_counter() - started
    return Outcome(accepted, failure, took * 1e3, (_memory("VmHWM") - before) / 1024)


def _misses(error: OnnxpackError) -> str:
    """Return what a typed error lacks."""
    if BY_EXIT_CODE.get(error.exit_code) is not type(error) or not error.problems:
        return f"an error of the kind {type(error).__name__} with {len(error.problems)} problems"
    for problem in error.problems:
        shown = click.unstyle(describe(problem))
        if not problem.message or not shown.replace("\n", "").replace("\t", "").isprintable() or "Traceback" in shown:
            return f"an error that no person can read: {shown!r}"[:1000]
    return ""


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise Hang

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, seconds * _IDLE))
    before = [signal.signal(number, stop) for _, number, _ in timers]
    try:
        for timer, _, limit in timers:
            signal.setitimer(timer, limit)
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _reset_peak() -> int:
    """Let the kernel forget the highest memory so far; return the present one in kilobytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def mutate(chance: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> bytes:
    """Return bytes with a few pieces lost, doubled, flipped, replaced, or taken from other documents."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randrange(len(changed) + 1)
        end = min(len(changed), start + chance.choice((0, 1, 1, 1, 4, 16, 64)))
        other = chance.choice((*others, data))
        place = chance.randrange(len(other) + 1)
        match chance.randrange(6):
            case 0:
                piece = b""
            case 1:
                piece = chance.choice(TOKENS)
            case 2:
                piece = bytes(changed[start:end]) * 2
            case 3:
                piece = other[place : place + 40]
            case 4:
                piece = bytes(byte ^ 1 << chance.randrange(8) for byte in changed[start:end])
            case _:
                piece = bytes(chance.randrange(256) for _ in range(end - start))
        changed[start:end] = piece
    if chance.randrange(8) == 0:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def change(chance: random.Random, document: Any) -> Any:
    """Return a copy of JSON values, a few of them replaced, removed, nested, doubled or called otherwise."""
    document = json.loads(json.dumps(document))
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        part, key = chance.choice(places)
        match chance.randrange(7):
            case 0:
                del part[key]
            case 1 if isinstance(part, list):
                part.append(part[key])
            case 1:
                part[chance.choice((f"{key}s", key[:-1], f" {key}", key.upper(), "\0", "../x"))] = part.pop(key)
            case 2:
                part[key] = nest(part[key], chance.choice((1, 1, 60, 100)))
            case 3:
                _, other = chance.choice(places)
                part[key] = other
            case _:
                part[key] = copy.deepcopy(chance.choice(ODD))
    return document


def nest(value: Any, depth: int) -> Any:
    """Return a value inside as many lists."""
    for _ in range(depth):
        value = [value]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        yield value, key
        yield from _places(item)
