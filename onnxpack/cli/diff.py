"""``onnxpack diff``: what is different between two builds."""

import json

import click

from onnxpack.cli.arguments import SANDBOX

_DIFFERENT = 2
"""The exit status of ``--detailed-exitcode`` where the two differ."""


@click.command("diff")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option("--target", metavar="NAME", help="The target of a spec that has several.")
@SANDBOX
@click.option(
    "--format", "style", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True,
    help="Tables for a terminal, one JSON document, or a comment for a pull request.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--detailed-exitcode", is_flag=True,
    help="End with 0 if both are the same, measurements aside, and with 2 if they differ.",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context,
    /,
    old: str,
    new: str,
    target: str | None,
    sandbox: bool,
    style: str,
    as_json: bool,
    detailed_exitcode: bool,
) -> None:
    """Compare two builds: A is the older one, B the newer.

    Each is a report.json, an output's folder (dist/NAME/TARGET), an image by name or as image.tar, a spec, or a spec
    in a Git revision (REVISION:path/spec.yaml), which is read with its lock and not built. What both know is compared;
    what one lacks is said. Changes that break clients are marked. Exit status: 0 done, whether they differ or not;
    2 usage, or one cannot be read; 5 engine or Git.
    """
    from onnxpack.comparison.differences import compare_facts
    from onnxpack.comparison.show import describe_result, show_markdown, show_text
    from onnxpack.comparison.sides import read_side

    first, second = read_side(old, target, sandbox=sandbox), read_side(new, target, sandbox=sandbox)
    result, notes = compare_facts(first.facts, second.facts), (*first.notes, *second.notes)
    if as_json or style == "json":
        click.echo(json.dumps(describe_result(result, notes), indent=2))
    else:
        click.echo("\n".join((show_markdown if style == "markdown" else show_text)(result, notes)))
    ctx.exit(_DIFFERENT if detailed_exitcode and result.differs else 0)
