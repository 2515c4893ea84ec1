"""Shards: each spec is in exactly one, of nearly equal sizes, the same everywhere, and few move when one is added."""

from pathlib import Path

import pytest

from onnxpack.fleet.shard import Shard, choose_shard


def make_specs(root: Path, count: int) -> list[Path]:
    (root / ".git").mkdir(parents=True, exist_ok=True)
    return [root / f"specs/model-{number}/spec.yaml" for number in range(count)]


def find_shards(specs: list[Path], count: int) -> dict[Path, int]:
    found = [(path, number) for number in range(1, count + 1) for path in choose_shard(specs, Shard(number, count))]
    assert len(found) == len(dict(found)) == len(specs)
    return dict(found)


@pytest.mark.parametrize(("specs", "count"), [(0, 3), (1, 3), (7, 3), (100, 8), (5, 1)])
def test_every_spec_is_in_one_shard_and_none_is_larger_than_it_must_be(tmp_path: Path, specs: int, count: int) -> None:
    found = find_shards(make_specs(tmp_path, specs), count)
    sizes = [list(found.values()).count(number) for number in range(1, count + 1)]
    assert max(sizes) <= -(-specs // count)


def test_shards_are_the_same_in_another_checkout_and_keep_the_order(tmp_path: Path) -> None:
    here, there = make_specs(tmp_path / "here", 40), make_specs(tmp_path / "there/deeper", 40)
    mine = choose_shard(here, Shard(2, 3))
    theirs = choose_shard(list(reversed(there)), Shard(2, 3))
    assert [path.parent.name for path in mine] == [path.parent.name for path in reversed(theirs)]
    assert mine == sorted(mine, key=here.index)


def test_a_new_spec_moves_few_others(tmp_path: Path) -> None:
    specs = make_specs(tmp_path, 101)
    before, after = find_shards(specs[:100], 8), find_shards(specs, 8)
    assert sum(after[path] != shard for path, shard in before.items()) <= 20
