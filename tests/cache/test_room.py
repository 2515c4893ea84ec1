"""What was used longest ago goes first, and what is in use stays."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from onnxpack.cache.room import Item, Limits, choose_items, keep_bound, make_room
from onnxpack.core.scratch import locked

ITEMS = [Item("export", f"export/{name}", 10, used) for name, used in (("c", 3.0), ("a", 1.0), ("d", 4.0), ("b", 2.0))]


class Shelf:
    """A keeper of items in memory, some of which are in use."""

    def __init__(self, items: Sequence[Item], used: str = "") -> None:
        self.items = list(items)
        self.used = used

    def list_items(self) -> list[Item]:
        return list(self.items)

    def remove(self, items: Sequence[Item]) -> list[Item]:
        gone = [item for item in items if item.name[-1] not in self.used]
        self.items = [item for item in self.items if item not in gone]
        return gone

    def remove_damaged(self) -> Iterator[tuple[Item, bool]]:
        yield from ()


def name_all(items: Sequence[Item]) -> str:
    return "".join(item.name[-1] for item in items)


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        (Limits(), ""),
        (Limits(40), ""),
        (Limits(39), "a"),
        (Limits(20), "ab"),
        (Limits(0), "abcd"),
        (Limits(since=3.0), "ab"),
        (Limits(size=10, since=2.0), "abc"),
        (Limits(size=30, since=3.0), "ab"),
    ],
)
def test_what_was_used_longest_ago_goes_first(limits: Limits, chosen: str) -> None:
    assert name_all(choose_items(ITEMS, limits)) == chosen


def test_what_is_in_use_stays_and_something_newer_goes() -> None:
    shelf = Shelf(ITEMS, used="a")
    assert name_all(make_room([shelf], Limits(20))) == "bc"
    assert name_all(shelf.items) == "ad"


def test_room_is_made_over_all_parts() -> None:
    parts = [Shelf(ITEMS[:2]), Shelf(ITEMS[2:])]
    assert name_all(make_room(parts, Limits(10))) in ("acb", "cab")
    assert [name_all(part.items) for part in parts] == ["", "d"]


def test_a_bound_that_is_kept_removes_nothing_and_one_that_is_passed_more_than_needed(tmp_path: Path) -> None:
    shelf = Shelf(ITEMS)
    assert keep_bound(tmp_path, [shelf], 40) == []
    assert name_all(keep_bound(tmp_path, [shelf], 33)) == "ab"  # 10 % below, so that the next build has nothing to do


def test_one_process_at_a_time_makes_room(tmp_path: Path) -> None:
    with locked(tmp_path / "locks/room"):
        assert keep_bound(tmp_path, [Shelf(ITEMS)], 0) == []
    assert name_all(keep_bound(tmp_path, [Shelf(ITEMS)], 0)) == "abcd"
