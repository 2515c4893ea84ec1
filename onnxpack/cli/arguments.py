"""Arguments and options that verbs share, and a loop over several paths."""

import codecs
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from onnxpack.core.errors import Location, OnnxpackError, Problem, SpecError

SPECS = click.argument("specs", nargs=-1, required=True, metavar="SPEC…", type=click.Path(path_type=Path))
SETTINGS = click.option(
    "--set", "settings", multiple=True, metavar="PATH.TO.FIELD=VALUE",
    help="Set a field of every spec; repeatable, and recorded in the report.",
)  # fmt: skip
TRUST = click.option(
    "--trust", is_flag=True,
    help="Run code that is neither the project's, the framework's, nor in model.requirements.",
)  # fmt: skip


def _check_sandbox(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> bool:
    if wanted:
        from onnxpack.worker.sandbox import require_sandbox

        require_sandbox()
    return wanted


SANDBOX = click.option(
    "--sandbox", is_flag=True, callback=_check_sandbox,
    help="Run model code without network, secrets and files to write, by bubblewrap.",
)  # fmt: skip
_SKIPPED_FOLDERS = {"dist", "node_modules", "__pycache__", "venv"}
"""Folders of a project whose YAML is not its own: outputs of builds, and other people's packages."""


def spec_files(arguments: Iterable[Path]) -> list[Path]:
    """Return the files named; for a folder, every YAML file below it that has ``onnxpack:`` at its top level.

    Raises:
        SpecError: a folder holds no spec.
    """
    found: list[Path] = []
    for argument in arguments:
        if argument.is_dir():
            below = sorted(_below(argument))
            if not below:
                raise SpecError(
                    Problem(
                        "there is no spec in this folder",
                        "a spec is a YAML file with `onnxpack: 1` at its top level",
                        Location(str(argument)),
                    )
                )
            found += below
        else:
            found.append(argument)
    return list(dict.fromkeys(found))


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if path.suffix in (".yaml", ".yml") and path.is_file() and _is_spec(path):
                yield path


def _is_spec(path: Path) -> bool:
    with path.open("rb") as stream:
        # Enough for any comment above it: a folder may hold YAML files of gigabytes.
        start = stream.read(1 << 16).removeprefix(codecs.BOM_UTF8)
    return any(line.startswith(b"onnxpack:") for line in start.splitlines())


def each(paths: Iterable[Path], action: Callable[[Path], None]) -> int:
    """Run ``action`` on each path and print what fails; return the first failure's exit code, else 0."""
    from onnxpack.cli.failure import tell

    status = 0
    for path in paths:
        try:
            action(path)
        except (OnnxpackError, OSError) as error:
            code = tell(error)
            status = status or code
    return status
