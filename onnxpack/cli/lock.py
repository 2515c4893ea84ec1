"""``onnxpack lock``: what shapes specs' images, pinned beside them."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from onnxpack.cli.arguments import SANDBOX, TRUST, each, spec_files
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.package_names import normalize_name
from onnxpack.core.scratch import write_whole
from onnxpack.spec.load import load

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_YAML = (".yaml", ".yml")


@click.command("lock")
@click.argument("words", nargs=-1, required=True, metavar="[PACKAGE…] SPEC…")
@click.option("--check", is_flag=True, help="Write nothing; fail when a lock is missing, or anything moved.")
@click.option(
    "--upgrade", is_flag=True,
    help="Take the newest version of each PACKAGE, or without one of all packages and bases, once the answers of the "
    "models were found to stay within their tolerance.",
)  # fmt: skip
@click.option(
    "--export", type=click.Choice(["pylock"]),
    help="Write each target's packages as pylock.SPEC-TARGET.toml (PEP 751) beside the lock, which has to be fresh.",
)  # fmt: skip
@TRUST
@SANDBOX
@click.pass_context
def command(
    ctx: click.Context,
    words: tuple[str, ...],
    check: bool,
    upgrade: bool,
    export: str | None,
    trust: bool,
    sandbox: bool,
) -> None:
    """Pin all that shapes each SPEC's models and images in a .lock file beside it, and keep what is pinned.

    That is files, tools, packages, the base image and tolerances. A version or digest that still fits stays until
    --upgrade. Before packages that compute get another version, the model runs on both: where its answers move by more
    than the tolerance, the old lock stays, and the exit status is 4. Where the registry of a base cannot be asked, the
    base is not pinned, and a note says so.
    """
    if check + upgrade + bool(export) > 1:
        raise click.UsageError("--check, --upgrade and --export do different things: give one of them")
    names, paths = _split_words(words) if upgrade else ((), tuple(map(Path, words)))
    if not paths:
        raise click.UsageError("name a spec, or a folder of specs, behind the packages")
    specs = spec_files(paths)
    if check:
        ctx.exit(each(specs, _check_lock))
    if export:
        ctx.exit(each(specs, _export_lock))
    from onnxpack.cli.lock_writing import How, write_lock

    _require_known(names, specs)
    ctx.exit(each(specs, partial(write_lock, how=How(upgrade, frozenset(names), trust, sandbox))))


def _split_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Return the names of packages and the paths of specs: what is there is a path, and so is all that ends as one."""
    names, paths = [], []
    for word in words:
        if _PACKAGE.fullmatch(word) and not word.endswith(_YAML) and not Path(word).exists():
            names.append(normalize_name(word))
        else:
            paths.append(Path(word))
    return tuple(names), tuple(paths)


def _require_known(names: Sequence[str], specs: Sequence[Path]) -> None:
    """Make sure that each package is in the lock of one of the specs.

    Raises:
        SpecError: one is in none.
    """
    from onnxpack.bundle.lock import lock_path
    from onnxpack.cli.lock_writing import read_if_valid
    from onnxpack.spec.messages import suggest_closest

    if not names:
        return
    locks = [found for path in specs if (found := read_if_valid(lock_path(path)))]
    known = {one.name for lock in locks for entry in lock.targets.values() for one in entry.packages}
    known |= {name for lock in locks for name in lock.pins.environment}
    if unknown := [name for name in names if name not in known]:
        problems = [Problem(f"no lock here has a package '{name}'", suggest_closest(name, known)) for name in unknown]
        raise SpecError(problems)


def _check_lock(path: Path) -> None:
    from onnxpack.bundle.drift import require_fresh
    from onnxpack.bundle.lock import lock_path

    require_fresh(load(path))
    click.echo(f"{lock_path(path)}: fresh", err=True)


def _export_lock(path: Path) -> None:
    from onnxpack.bundle.drift import require_fresh
    from onnxpack.bundle.pylock import export_pylock, name_pylock

    file = load(path)
    for target, locked in require_fresh(file).targets.items():
        place = path.with_name(name_pylock(path.stem, target))
        write_whole(place, export_pylock(locked, target))
        click.echo(place)
