"""Shards: each of several machines builds its part of the specs, and all agree on the parts without talking."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.digests import digest
from onnxpack.spec.load import find_work_tree


@dataclass(frozen=True)
class Shard:
    """The part ``number`` of ``count`` parts; the first one is 1."""

    number: int
    count: int


def choose_shard(specs: Sequence[Path], shard: Shard) -> list[Path]:
    """Return the specs of one shard, in their order: each spec is in exactly one, with all of its targets.

    The parts depend on the specs' paths in their work tree alone, so they are the same on every machine, and differ by
    one spec at most in size, give or take what the same path in two work trees adds. Each spec has an order of the
    shards of its own, and is in the first one that has room (rendezvous hashing with a bound): a spec more or less
    moves few of the others.
    """
    room = math.ceil(len(specs) / shard.count)
    full: Counter[int] = Counter()
    chosen = set()
    for spec, path in sorted((digest(_name_spec(path)), path) for path in specs):
        order = sorted(range(1, shard.count + 1), key=lambda number: digest(spec, number))
        number = next(number for number in order if full[number] < room)
        full[number] += 1
        if number == shard.number:
            chosen.add(path)
    return [path for path in specs if path in chosen]


def _name_spec(path: Path) -> str:
    """Return the path of a spec in its work tree, which is the same wherever that is checked out."""
    place = path.absolute()
    return place.relative_to(find_work_tree(place.parent)).as_posix()
