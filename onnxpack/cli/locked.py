"""What ``build --locked`` asks before anything is built: whether each spec's lock still says what is there."""

import json
from collections.abc import Iterable
from pathlib import Path

import click

from onnxpack.cli.arguments import spec_files
from onnxpack.cli.each_target import Choice
from onnxpack.core.errors import OnnxpackError, SpecError
from onnxpack.fleet.shard import Shard, choose_shard

LOCKED = click.option(
    "--locked", is_flag=True,
    help="Build nothing, and fail with 2, if a lock is missing or anything moved since it was made.",
)  # fmt: skip


def require_fresh_locks(choice: Choice, specs: Iterable[Path], shard: Shard | None, *, as_json: bool) -> None:
    """Check the locks of all specs of a shard; what is wrong with a spec itself is told by its build.

    Raises:
        Exit: one of them does not fit: with status 2, after all that moved was told.
    """
    from onnxpack.bundle.drift import require_fresh
    from onnxpack.cli.failure import tell
    from onnxpack.pipeline.report import describe_failed_attempt

    moved = []
    paths = spec_files(specs)
    for path in choose_shard(paths, shard) if shard else paths:
        try:
            file = choice.load(path)
        except OnnxpackError:
            continue
        try:
            require_fresh(file)
        except SpecError as error:
            tell(error)
            moved.append(describe_failed_attempt(str(path), "lock", error) | {"name": file.spec.name})
    if moved:
        if as_json:
            click.echo(json.dumps(moved, indent=2))
        raise click.exceptions.Exit(SpecError.exit_code)
