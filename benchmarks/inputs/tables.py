"""Throw seeded garbage at the reader of records and csv of a generated module: nothing but ValueError may come of it.

    python benchmarks/inputs/tables.py              # 10,000 bodies of each kind
    python benchmarks/inputs/tables.py --count 300

It prints how many were taken and refused, the longest message, the slowest body and the peak of memory.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SEED = 15
COLUMNS = ("age", "visits", "city", "note", "joined", "seen")
SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, -(2**63), 10**400, 1.5, 1e39, 1e308, -0.0, "", "x", "NaN", "41", "Lima", "Oslo",
    "2024-02-29", "2023-02-29", "9999-12-31", "0000-01-01", "2024-02-29T25:00", "2024-02-29T12:00:00+23:59", "\ud800",
    "\x00", "é" * 50, "a" * 5000, [], {}, [[1]], {"a": None}, "=cmd()", "1_0", "١٢", "infinity", "0x10", " 7 ",
)  # fmt: skip
PIECES = (
    "\n",
    "\r\n",
    '"',
    '""',
    ",",
    ";",
    "\t",
    "\ufeff",
    "\x00",
    " ",
    "\r",
    *COLUMNS,
    "1",
    "nan",
    "2024-02-29",
    "Lima",
)


@dataclass
class Tally:
    """What came of all bodies."""

    taken: int = 0
    refused: int = 0
    longest: int = 0
    slowest: float = 0.0

    def try_body(self, read: Callable[[Any], Any], body: Any) -> None:
        """Read a body; whatever is raised besides ValueError ends the run."""
        started = time.perf_counter()
        try:
            read(body)
            self.taken += 1
        except ValueError as error:
            self.refused += 1
            text = str(error)
            self.longest = max(self.longest, len(text))
            if not text or "\n" in text:
                raise AssertionError(f"a message of several lines, or none: {text!r}") from error
        self.slowest = max(self.slowest, time.perf_counter() - started)


def make_records(chance: random.Random) -> Any:
    """Make a list of records, most of them nearly right."""
    good = {"age": 41.5, "visits": 3, "city": "Lima", "note": "a", "joined": "2024-02-29", "seen": "1970-01-02"}
    records: list[Any] = []
    for _ in range(chance.choice((0, 1, 2, 5, 100, 101))):
        record: Any = dict(good)
        for _ in range(chance.choice((0, 0, 1, 2))):
            record[chance.choice((*COLUMNS, "agee", "", "x" * 300))] = chance.choice(SCALARS)
        if chance.random() < 0.1:
            record.pop(chance.choice(COLUMNS), None)
        records.append(record if chance.random() < 0.97 else chance.choice(SCALARS))
    return records


def make_csv(chance: random.Random) -> bytes:
    """Make a body of csv: right, cut or changed somewhere, or of pieces alone."""
    if chance.random() < 0.3:
        return "".join(chance.choices(PIECES, k=chance.randrange(200))).encode("utf-8", "surrogatepass")
    rows = [",".join(chance.sample(COLUMNS, len(COLUMNS)))]
    for _ in range(chance.choice((0, 1, 3, 100))):
        rows.append(",".join(chance.choice(("", "1", "Lima", "2024-02-29", '"a\n"', "nan", "x")) for _ in COLUMNS))
    body = bytearray(chance.choice(("\n", "\r\n")).join(rows).encode())
    for _ in range(chance.choice((0, 1, 4))):
        if body:
            body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body[: chance.randrange(len(body) + 1)] if chance.random() < 0.2 else body)


def list_large() -> Iterator[bytes]:
    """Yield bodies that would take much memory if they were let."""
    head = ",".join(COLUMNS).encode() + b"\n"
    yield head + b'"\n",' * 2**22
    yield b"," * 2**23
    yield head + b"1,1,a,a,2024-02-29,2024-02-29\n" * 2**18
    yield head + b'"' + b"a" * 2**23
    yield b"a" * 2**23
    yield b"\n" * 2**23


def import_records(folder: Path) -> Any:
    """Import the reader of a model with declared columns of all kinds."""
    sys.path.insert(0, str(ROOT / "tests/helpers"))
    sys.path.insert(0, str(folder))
    from bundle_examples import write_app

    write_app(folder, "declared")
    import records

    return records


def run(count: int, module: Any) -> Tally:
    """Try as many bodies of each kind."""
    chance, tally = random.Random(SEED), Tally()
    for _ in range(count):
        tally.try_body(module.read_records, make_records(chance))
        tally.try_body(module.read_csv, make_csv(chance))
    return tally


def main() -> None:
    """Read the command line, run, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="bodies of each kind, 10,000 by default")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        module = import_records(Path(folder))
        tally = run(count, module)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for body in list_large():
            tally.try_body(module.read_csv, body)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        "bodies": tally.taken + tally.refused,
        "taken": tally.taken,
        "longest message": tally.longest,
        "slowest, ms": round(tally.slowest * 1e3, 1),
        "peak of memory, MB": after // 1000,
        "of it for large bodies, MB": (after - before) // 1000,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
