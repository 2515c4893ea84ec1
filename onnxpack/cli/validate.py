"""``onnxpack validate``: no framework is imported, nothing is written."""

from pathlib import Path

import click

from onnxpack.cli.arguments import SETTINGS, SPECS, spec_files
from onnxpack.core.errors import Problem, SpecError
from onnxpack.spec.load import load


@click.command("validate")
@SPECS
@SETTINGS
@click.option(
    "--format", "style", type=click.Choice(["text", "json", "github", "sarif"]), default="text", show_default=True,
    help="Words on stderr, or a document on stdout: JSON, GitHub annotations, SARIF.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def command(ctx: click.Context, specs: tuple[Path, ...], settings: tuple[str, ...], style: str, as_json: bool) -> None:
    """Check each SPEC, a file or a folder of them: fields, values, and the files that it names."""
    style = "json" if as_json else style
    results = []
    for path in spec_files(specs):
        problems = _problems(path, settings)
        results.append((path, problems))
        if style == "text":
            _tell(path, problems)
    if style != "text":
        from onnxpack.cli import annotations

        text = getattr(annotations, f"as_{style}")(results)
        if text:
            click.echo(text)
    ctx.exit(SpecError.exit_code if any(problems for _, problems in results) else 0)


def _problems(path: Path, settings: tuple[str, ...]) -> tuple[Problem, ...]:
    try:
        load(path, settings)
    except SpecError as error:
        return error.problems
    return ()


def _tell(path: Path, problems: tuple[Problem, ...]) -> None:
    if problems:
        from onnxpack.cli.failure import tell

        tell(SpecError(problems))
    else:
        click.echo(f"{path}: valid", err=True)
