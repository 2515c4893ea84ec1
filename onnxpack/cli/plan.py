"""``onnxpack plan``: what a build would do, and why; nothing is written, and no code of a model runs."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import SETTINGS, SPECS, TRUST, spec_files
from onnxpack.core.errors import OnnxpackError, SpecError, classify_error

if TYPE_CHECKING:
    from onnxpack.pipeline.forecast import Forecast, Forecaster
    from onnxpack.pipeline.touched import Changes

_SOMETHING = 2
"""The exit status of ``--detailed-exitcode`` where a build would do something."""
FORMATS = ("text", "json", "markdown", "github-matrix", "gitlab")


@click.command("plan")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Look at this target alone; repeatable.")
@click.option(
    "--changed-since", "since", metavar="REVISION",
    help="Ask Git alone: list what the files touch that changed since then, uncommitted ones included.",
)  # fmt: skip
@click.option(
    "--format", "style", type=click.Choice(FORMATS), default="text", show_default=True,
    help="Words, one JSON document, a comment for a pull request, or the jobs of a pipeline: a matrix of GitHub "
    "Actions on one line, or the YAML of a child pipeline of GitLab.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--detailed-exitcode", is_flag=True,
    help="End with 0 if a build would do nothing, and with 2 if it would do something.",
)  # fmt: skip
@TRUST
@click.pass_context
def command(
    ctx: click.Context,
    /,
    specs: tuple[Path, ...],
    settings: tuple[str, ...],
    targets: tuple[str, ...],
    since: str | None,
    style: str,
    as_json: bool,
    detailed_exitcode: bool,
    trust: bool,
) -> None:
    """Say what a build of each SPEC, a file or a folder of them, would do: which stages, and why.

    A target is compared with its last build on this machine, by the options of that build. Exit status: 0 done, 2 usage
    or a spec that cannot be read, 5 Git; with --detailed-exitcode 2 also if a build would do something.
    """
    from onnxpack.cache.store import Store, find_default_root
    from onnxpack.cli import forecasts
    from onnxpack.pipeline.forecast import Forecaster
    from onnxpack.pipeline.touched import Changes

    paths = spec_files(specs)
    forecaster = Forecaster(Store(find_default_root()), settings, trust)
    changes = Changes(since, paths[0].absolute().parent) if since else None
    found: list[Forecast] = []
    code = 0
    for path in paths:
        try:
            found += _look(forecaster, path, targets, changes)
        except (OnnxpackError, OSError) as error:
            found.append(_fail(path, error, changes))
            code = code or _tell(error)
    if changes and style == "text" and not as_json:
        click.echo("note: imports of a model's code count where a build on this machine has traced them", err=True)
    show: Callable[[Sequence[Forecast]], str] = {
        "text": forecasts.show_text, "json": forecasts.show_json, "markdown": forecasts.show_markdown,
        "github-matrix": forecasts.show_matrix, "gitlab": forecasts.show_gitlab,
    }["json" if as_json else style]  # fmt: skip
    click.echo(show(found))
    due = detailed_exitcode and any(one.is_due for one in found)
    ctx.exit(code or (_SOMETHING if due else 0))


def _look(
    forecaster: "Forecaster", path: Path, targets: tuple[str, ...], changes: "Changes | None"
) -> "Iterator[Forecast]":
    if changes is None:
        yield from forecaster.forecast(path, targets)
        return
    from onnxpack.pipeline.forecast import NOTHING, TOUCHED, Forecast
    from onnxpack.spec.load import choose_targets, load

    file = load(path, forecaster.settings)
    for target in choose_targets(file, targets):
        files = changes.find(file, forecaster.find_receipt(path, target))
        status = TOUCHED if files else NOTHING
        yield Forecast(str(path), file.spec.name, target, status, tuple(f"{name} changed" for name in files))


def _fail(path: Path, error: Exception, changes: "Changes | None") -> "Forecast":
    from onnxpack.pipeline.forecast import FAILED, NOTHING, Forecast

    known = classify_error(error)
    reasons = tuple(problem.message for problem in known.problems) if known else (str(error),)
    untouched = changes is not None and isinstance(error, SpecError) and not changes.find_file(path)
    return Forecast(str(path), "", "", NOTHING if untouched else FAILED, reasons)


def _tell(error: Exception) -> int:
    from onnxpack.cli.failure import tell

    return tell(error)
