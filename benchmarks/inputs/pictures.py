"""Throw broken pictures at the rendered module: ``benchmarks/inputs/pictures.py --pictures 10000 --seed 1``.

All formats, in one process whose address space is limited: each picture must be read, or refused by a ValueError of
one line. Whatever else happens is told with the picture's number, and the exit status is 1.
"""

import argparse
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from picture_examples import FORMATS, load_reader, make_intake  # noqa: E402

from onnxpack.intake.picture_files import make_bad_files, make_good_files  # noqa: E402

ADDRESS_SPACE = 3 * 2**30
SEEDS_UP_TO = 2**16  # bytes of a file that is mutated; larger ones would make most of the time
HUGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MAGIC = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"BM")
Read = Callable[[str, Sequence[bytes]], Any]


@dataclass
class Tally:
    """What became of the pictures, and what it took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0


def make_pictures(seed: int, count: int) -> Iterator[bytes]:
    """Make ``count`` broken pictures, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    files = [file.data for make in (make_good_files, make_bad_files) for file in make(FORMATS)]
    files = [data for data in files if 0 < len(data) < SEEDS_UP_TO]
    makers = (flip, flip, cut, join, put_number, repeat, make_noise, make_bomb, make_metadata, make_scans)
    for _ in range(count):
        data = files[random.integers(len(files))]
        other = files[random.integers(len(files))]
        yield makers[random.integers(len(makers))](random, data, other)


def flip(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Change some bytes, most of them near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 20)):
        reach = len(changed) if random.random() < 0.4 else min(len(changed), 200)
        changed[random.integers(reach)] = random.integers(256)
    return bytes(changed)


def cut(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Leave out a piece, or the end."""
    start, end = sorted(random.integers(0, len(data), 2))
    return data[:start] + (data[end:] if random.random() < 0.5 else b"")


def join(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Put the start of one file before the end of another: both formats may claim it."""
    return data[: random.integers(4, len(data))] + other[random.integers(len(other)) :]


def put_number(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Write an extreme number somewhere into the header."""
    size = int(random.choice([1, 2, 4]))
    number = int(HUGE[random.integers(len(HUGE))]) % 256**size
    at = int(random.integers(2, min(len(data), 120)))
    written = number.to_bytes(size, "big")
    return data[:at] + (written if random.random() < 0.5 else written[::-1]) + data[at + size :]


def repeat(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Repeat a piece many times."""
    start, end = sorted(random.integers(0, len(data), 2))
    return data[:start] + data[start:end] * int(random.integers(2, 40)) + data[start:]


def make_noise(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Make noise, behind the first bytes of a format or of nothing."""
    start = MAGIC[random.integers(len(MAGIC))] if random.random() < 0.8 else b""
    return start + random.bytes(int(random.integers(0, 5000)))


def make_bomb(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Make a PNG of which some part unpacks to far more than it takes."""
    width, height = (int(random.choice([1, 3, 500, 5000, 60_000, 2**31 - 1])) for _ in range(2))
    kind = [b"zTXt", b"iCCP", b"IDAT", b"iTXt"][random.integers(4)]
    packed = zlib.compress(bytes(int(random.choice([2**16, 2**22, 2**25]))), 9)
    start = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}.get(kind, b"")
    head = struct.pack(
        ">IIBBBBB", width, height, int(random.choice([1, 8, 16])), int(random.choice([0, 2, 3, 6])), 0, 0, 0
    )
    chunks = [
        (b"IHDR", head),
        *[(kind, start + packed)] * int(random.integers(1, 4)),
        (b"IDAT", packed),
        (b"IEND", b""),
    ]
    return MAGIC[1] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def make_metadata(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Make a JPEG with much of EXIF, XMP or a profile in front, all of it noise behind its first words."""
    start = [
        b"Exif\0\0MM\0*\0\0\0\x08",
        b"Exif\0\0II*\0\x08\0\0\0",
        b"ICC_PROFILE\0\1\1",
        b"http://ns.adobe.com/xap/1.0/\0",
    ]
    body = start[random.integers(len(start))] + random.bytes(int(random.integers(0, 60_000)))
    segment = b"\xff" + [b"\xe1", b"\xe2"][random.integers(2)] + struct.pack(">H", len(body) + 2) + body
    return b"\xff\xd8" + segment * int(random.integers(1, 12)) + (data[2:] if data[:2] == b"\xff\xd8" else data)


def make_scans(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Repeat the last scan of a JPEG, which costs the time of the whole picture each time."""
    at = data.rfind(b"\xff\xda")
    if at < 0 or data[:2] != b"\xff\xd8":
        return flip(random, data, other)
    return data[:at] + data[at:-2] * int(random.integers(2, 200)) + b"\xff\xd9"


def throw(read: Read, pictures: Iterator[bytes]) -> Tally:
    """Let the module read each picture, and count what comes of it."""
    tally = Tally()
    for number, data in enumerate(pictures):
        start = time.perf_counter()
        try:
            read("image", [data])
            tally.outcomes["read"] += 1
        except ValueError as error:
            tally.outcomes["refused"] += 1
            if "\n" in str(error) or not str(error).startswith("input 'image', picture 0: "):
                tally.failures.append(f"picture {number}: says {error}")
        except BaseException as error:
            tally.outcomes["failed"] += 1
            tally.failures.append(f"picture {number}: {type(error).__name__}: {error}")
        tally.slowest = max(tally.slowest, time.perf_counter() - start)
    return tally


def make_reader() -> Read:
    """Return what reads pictures of all formats with every step."""
    steps = (
        {"op": "orient"},
        {"op": "resize", "size": (64,), "like": "torchvision"},
        {"op": "crop", "size": (56, 56)},
        {"op": "resize", "size": (32, 40), "like": "opencv", "method": "area"},
    )
    return load_reader(make_intake(*steps, formats=FORMATS))


def main() -> int:
    """Throw pictures, print figures, and return 1 if anything else than a ValueError came of one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    read = make_reader()
    pictures = make_pictures(arguments.seed, arguments.pictures)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    tally = throw(read, pictures)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{sum(tally.outcomes.values())} pictures of seed {arguments.seed} in {seconds:.0f} s: {dict(tally.outcomes)}"
    )
    print(f"slowest {tally.slowest * 1000:.0f} ms, resident {before >> 10} MiB before, {after >> 10} MiB at most")
    for failure in tally.failures[:20]:
        print(failure, file=sys.stderr)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
