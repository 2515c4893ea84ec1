"""``onnxpack conformance``: whether a server speaks the Open Inference Protocol."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from onnxpack.conformance.checks import Result


@click.command("conformance")
@click.argument("url", metavar="URL")
@click.option("--model", metavar="NAME", help="The model to ask; needed where the server does not tell its only one.")
@click.option("--grpc", metavar="HOST:PORT", help="Check the server's gRPC too, at this place.")
@click.option(
    "--input", "sample", metavar="FILE", type=click.Path(path_type=Path),
    help="A JSON inference request that the model takes, where it takes no zeros.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, metavar="SECONDS",
    help="How long one answer may take.",
)  # fmt: skip
@click.option(
    "--total", type=click.FloatRange(1, 36_000), default=300.0, show_default=True, metavar="SECONDS",
    help="How long all checks may take; those that are left then fail.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    url: str,
    **options: Any,
) -> None:
    """Ask the server at URL all that the Open Inference Protocol says, its extensions, and what strangers may send.

    It sends some hundred requests, wrong ones too, none above a megabyte: use it on a server that nobody depends on.
    A table of all checks goes to stdout. Exit status: 0 all that is required passed, 2 usage, or a model that must be
    named, 4 a required check failed, 5 nothing answers.
    """
    from onnxpack.conformance.show import format_results, make_document
    from onnxpack.conformance.suite import Request, check_server, is_conformant
    from onnxpack.core.errors import GateError

    as_json = options.pop("as_json")
    options["seconds"] = options.pop("timeout")
    model, results = check_server(Request(url, **options), _tell)
    click.echo(json.dumps(make_document(url, model, results), indent=2) if as_json else format_results(results))
    ctx.exit(0 if is_conformant(results) else GateError.exit_code)


def _tell(result: "Result") -> None:
    """Say on stderr what failed as it fails: all checks may take minutes."""
    from onnxpack.conformance.checks import Verdict

    if result.verdict is Verdict.FAIL:
        click.echo(f"failed: {result.id}, {result.level}", err=True)
