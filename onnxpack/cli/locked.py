"""What ``build --locked`` asks before anything is built: whether each spec's lock still says what is there."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from onnxpack.cli.arguments import spec_files
from onnxpack.cli.each_target import Choice
from onnxpack.cli.outcome_files import OutcomeFiles
from onnxpack.core.errors import OnnxpackError, SpecError
from onnxpack.fleet.job import Outcome
from onnxpack.fleet.rows import Row
from onnxpack.fleet.shard import Shard, choose_shard

LOCKED = click.option(
    "--locked", is_flag=True,
    help="Build nothing, and fail with 2, if a lock is missing or anything moved since it was made.",
)  # fmt: skip


def require_fresh_locks(
    choice: Choice, specs: Iterable[Path], shard: Shard | None, files: OutcomeFiles, *, as_json: bool
) -> None:
    """Check the locks of all specs of a shard; what is wrong with a spec itself is told by its build.

    Raises:
        Exit: one of them does not fit: with status 2, after all that moved was told, also in ``files``.
        OSError: one of the files cannot be written.
    """
    started = time.monotonic()
    paths = spec_files(specs)
    with files.guarding():
        rows = list(_find_moved(choice, choose_shard(paths, shard) if shard else paths))
    if not rows:
        return
    if as_json:
        click.echo(json.dumps([dict(row.ended.document) for row in rows], indent=2))
    files.write(rows, time.monotonic() - started)
    raise click.exceptions.Exit(SpecError.exit_code)


def _find_moved(choice: Choice, paths: Iterable[Path]) -> Iterator[Row]:
    """Tell what moved, and give a row for each spec whose lock does not fit."""
    from onnxpack.bundle.drift import require_fresh
    from onnxpack.cli.failure import tell
    from onnxpack.pipeline.report import describe_failed_attempt

    for number, path in enumerate(paths):
        try:
            file = choice.load(path)
        except OnnxpackError:
            continue
        try:
            require_fresh(file)
        except SpecError as error:
            tell(error)
            name = file.spec.name
            document = describe_failed_attempt(str(path), "lock", error) | {"name": name}
            yield Row(path, name, outcome=Outcome(number, "failed", document))
