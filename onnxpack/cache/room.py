"""What a store keeps, and how room is made in it: what was used longest ago goes first, and nothing that is in use."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onnxpack.core.scratch import locked_if_free

_LOCK = "locks/room"
_SLACK = 0.9
"""How far a build that finds the bound passed goes below it, so that the next one need not make room again."""


@dataclass(frozen=True)
class Item:
    """Something in a store that is kept, and removed, as a whole."""

    kind: str
    """The stage, or what else it is, as a person sees it."""
    name: str
    """Its path below the store's root, or an image's digest."""
    size: int
    """The bytes of its files."""
    used: float
    """When it was used last, in seconds since 1970."""


class Keeper(Protocol):
    """A part of a store, which knows the form of what it keeps."""

    def list_items(self) -> list[Item]:
        """Return all that is kept."""

    def remove(self, items: Sequence[Item]) -> list[Item]:
        """Remove items that nobody uses, and that were not used since they were listed; return those that are gone."""

    def remove_damaged(self) -> Iterator[tuple[Item, bool]]:
        """Read all that has digests, remove what is not as they say, and yield each with whether it was whole."""


@dataclass(frozen=True)
class Limits:
    """What may stay: a number of bytes, and what was used since a time in seconds since 1970; None is no limit."""

    size: int | None = None
    since: float | None = None


def choose_items(items: Iterable[Item], limits: Limits, held: Collection[Item] = ()) -> list[Item]:
    """Return what has to go, what was used longest ago first; what is ``held`` takes room, and stays."""
    ordered = sorted(items, key=lambda item: (item.used, item.name))
    left = sum(item.size for item in ordered)
    chosen = []
    for item in ordered:
        too_large = limits.size is not None and left > limits.size
        too_old = limits.since is not None and item.used < limits.since
        if (too_large or too_old) and item not in held:
            chosen.append(item)
            left -= item.size
    return chosen


def make_room(keepers: Sequence[Keeper], limits: Limits) -> list[Item]:
    """Remove what has to go; what is in use stays, and something newer goes in its place. Return what is gone."""
    owners = {item: keeper for keeper in keepers for item in keeper.list_items()}
    gone: list[Item] = []
    held: set[Item] = set()
    while chosen := choose_items(owners, limits, held):
        removed = [
            item for keeper in keepers for item in keeper.remove([item for item in chosen if owners[item] is keeper])
        ]
        gone += removed
        held |= set(chosen) - set(removed)
        for item in removed:
            del owners[item]
    return gone


def keep_bound(root: Path, keepers: Sequence[Keeper], bound: int) -> list[Item]:
    """Make room where more than ``bound`` bytes are kept, unless another process is at that; return what is gone."""
    with locked_if_free(root / _LOCK) as free:
        if not free or sum(item.size for keeper in keepers for item in keeper.list_items()) <= bound:
            return []
        return make_room(keepers, Limits(int(bound * _SLACK)))
