"""Throws mutated specs at the loader for a while: `.venv/bin/python benchmarks/fuzz_specs.py [SECONDS] [SEED]`.

Whatever the text, the loader must give a spec or a SpecError, soon. What breaks that rule is written to a file, and the
exit status is 1.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from onnxpack.core.errors import SpecError
from onnxpack.spec.load import load

ROOT = Path(__file__).resolve().parents[1]
SLOW = 1.0  # seconds
TOKENS = [
    b"&a", b"*a", b"<<: ", b"!!python/object ", b"---\n", b"[", b"]", b"{", b"}", b": ", b"- ", b"'", b'"', b"#",
    b"|\n", b">\n", b"\t", b"\x00", b"\xff", b"\xe2\x80\xa8", b"0x", b"1e999", b"-1", b"9" * 50, b"null", b"yes",
    b"~", b"${A}", b"../", b"\n", b"  ",
]  # fmt: skip


def main() -> int:
    """Runs until the time is over or something breaks."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    chance = random.Random(seed)
    seeds = [path.read_bytes() for path in sorted(ROOT.glob("specs/*/spec.yaml"))]
    seeds += [path.read_bytes() for path in sorted(ROOT.glob("tests/bad_specs/*.yaml"))]
    count, slowest, end = 0, 0.0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="onnxpack-fuzz-") as folder:
        path = Path(folder) / "spec.yaml"
        while time.monotonic() < end:
            path.write_bytes(mutated(chance, seeds))
            started = time.monotonic()
            problem = broken(path)
            took = time.monotonic() - started
            count, slowest = count + 1, max(slowest, took)
            if problem or took > SLOW:
                kept = Path(f"fuzz-{seed}-{count}.yaml")
                kept.write_bytes(path.read_bytes())
                print(f"{problem or f'it took {took:.1f} s'}: see {kept}")
                return 1
    print(f"{count} specs from seed {seed}, {count / seconds:.0f}/s, the slowest {slowest * 1e3:.0f} ms: nothing broke")
    return 0


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One seed with a few pieces lost, doubled, replaced, or taken from another."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((0, 1, 1, 4, 16, 64)))
        other = chance.choice(seeds)
        start = chance.randrange(len(other) + 1)
        piece = chance.choice((b"", chance.choice(TOKENS), bytes(data[at:to]) * 2, other[start : start + 40]))
        data[at:to] = piece
    return bytes(data)


def broken(path: Path) -> str:
    """How the loader broke its promise, or nothing."""
    try:
        load(path)
    except SpecError as error:
        return "" if error.problems else "an error without a problem"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
