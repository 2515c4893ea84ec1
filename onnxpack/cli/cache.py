"""``onnxpack cache``: what the store keeps, and how room is made in it."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from onnxpack.core.errors import EngineError
from onnxpack.core.text import format_bytes, format_table, plural
from onnxpack.spec.units import read_duration, read_size

if TYPE_CHECKING:
    from onnxpack.cache.room import Item
    from onnxpack.cache.store import Store

_LONG = {"d": 86400.0, "w": 7 * 86400.0}
"""The seconds of units that a spec does not have."""
_LONG_AGE = re.compile(r"([0-9]{1,9})\s*([dw])")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _read_size(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    size = read_size(value) if value else None
    if value and size is None:
        raise click.BadParameter(f"'{value}' is not a size: write it as 10GB", ctx, parameter)
    return size


def _read_age(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Return an age in seconds."""
    if not value:
        return None
    if match := _LONG_AGE.fullmatch(value):
        return int(match[1]) * _LONG[match[2]]
    age = read_duration(value)
    if age is None:
        raise click.BadParameter(f"'{value}' is not an age: write it as 30d, 2w or 12h", ctx, parameter)
    return age


@click.group("cache")
def command() -> None:
    """Look into the store of what builds have made, make room in it, empty it, or check it.

    It keeps at most ONNXPACK_CACHE_SIZE bytes: builds remove in the end what was used longest ago.
    """


@command.command("info")
@_JSON
def _info(as_json: bool) -> None:
    """Show where the store is, what it has, by stage, its bound, and the shared store."""
    from onnxpack.pipeline import stores

    store = _open_here()
    items = _list_items(store)
    shared = stores.describe_shared()
    facts = {
        "place": str(store.root), "bytes": sum(item.size for item in items), "bound_bytes": stores.read_bound(),
        "shared": asdict(shared) if shared else None, "stages": _count_stages(items),
    }  # fmt: skip
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_format_facts(facts)))


@command.command("prune")
@click.option(
    "--size", callback=_read_size, metavar="SIZE",
    help="How much may stay, as 10GB; without it ONNXPACK_CACHE_SIZE, or 20 GB.",
)  # fmt: skip
@click.option(
    "--older-than", callback=_read_age, metavar="AGE", help="Remove what was not used for so long, too: 30d, 2w, 12h."
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; tell what would go.")
@_JSON
def _prune(size: int | None, older_than: float | None, dry_run: bool, as_json: bool) -> None:
    """Remove what was used longest ago, until the store has no more than its bound.

    What a running build uses stays.
    """
    from onnxpack.cache.room import Limits
    from onnxpack.pipeline import stores

    since = None if older_than is None else time.time() - older_than
    limits = Limits(stores.read_bound() if size is None else size, since)
    _remove(limits, dry_run=dry_run, as_json=as_json)


@command.command("clear")
@_JSON
def _clear(as_json: bool) -> None:
    """Remove all that no running build uses; the next builds make it anew."""
    from onnxpack.cache.room import Limits

    _remove(Limits(0), dry_run=False, as_json=as_json)


@command.command("verify")
@_JSON
@click.pass_context
def _verify(ctx: click.Context, as_json: bool) -> None:
    """Read all entries and images, and remove those that are damaged; exit with 5 if there were any."""
    from onnxpack.pipeline import stores

    checked, damaged = 0, []
    for keeper in stores.list_keepers(_open_here()):
        for item, whole in keeper.remove_damaged():
            checked += 1
            if not whole:
                damaged.append(item)
                click.echo(f"damaged, and removed: {_show(item)}", err=True)
    if as_json:
        click.echo(json.dumps({"checked": checked, "damaged": [asdict(item) for item in damaged]}, indent=2))
    click.echo(f"{plural(checked, 'part')} read, {len(damaged)} of them damaged", err=True)
    ctx.exit(EngineError.exit_code if damaged else 0)


def _remove(limits: Any, *, dry_run: bool, as_json: bool) -> None:
    from onnxpack.cache.room import choose_items, make_room
    from onnxpack.pipeline import stores

    store = _open_here()
    before = _list_items(store)
    gone = choose_items(before, limits) if dry_run else make_room(stores.list_keepers(store), limits)
    left = sum(item.size for item in before) - sum(item.size for item in gone)
    if as_json:
        click.echo(json.dumps({"removed": [asdict(item) for item in gone], "bytes_left": left}, indent=2))
    elif dry_run:
        click.echo("\n".join(_show(item) for item in gone), nl=bool(gone))
    words = "would go" if dry_run else "removed"
    freed = format_bytes(sum(item.size for item in gone))
    click.echo(f"{plural(len(gone), 'part')} {words}, {freed}; {format_bytes(left)} stay", err=True)


def _open_here() -> "Store":
    """Return the store without the shared one, swept of what killed builds left."""
    from onnxpack.cache.store import Store, find_default_root

    store = Store(find_default_root())
    store.sweep()
    return store


def _list_items(store: "Store") -> "list[Item]":
    from onnxpack.pipeline import stores

    return [item for keeper in stores.list_keepers(store) for item in keeper.list_items()]


def _show(item: "Item") -> str:
    name = item.name if item.name.startswith(f"{item.kind}/") else f"{item.kind}/{item.name}"
    return f"{name}  {format_bytes(item.size)}"


def _count_stages(items: "Iterable[Item]") -> list[dict[str, Any]]:
    """Return how many parts each stage has, and their bytes, the largest first."""
    parts: dict[str, list[int]] = defaultdict(list)
    for item in items:
        parts[item.kind].append(item.size)
    counted = [{"stage": kind, "entries": len(sizes), "bytes": sum(sizes)} for kind, sizes in parts.items()]
    return sorted(counted, key=lambda one: (-int(str(one["bytes"])), str(one["stage"])))


def _format_facts(facts: dict[str, Any]) -> list[str]:
    shared = facts["shared"]
    rows: list[Sequence[str]] = [
        ("place", facts["place"]),
        ("size", f"{format_bytes(facts['bytes'])}, of {format_bytes(facts['bound_bytes'])} that may stay"),
        ("shared", f"{shared['url']}, {shared['mode']}" if shared else "none: ONNXPACK_REMOTE_CACHE names one"),
    ]
    stages = [(one["stage"], str(one["entries"]), format_bytes(one["bytes"])) for one in facts["stages"]]
    table = ["", *format_table([("stage", "parts", "size"), *stages], right=(1, 2))] if stages else []
    return [*format_table(rows), *table]
