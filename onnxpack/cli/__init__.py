"""The command line: the only place that prints and exits. A verb's module is imported when the verb is used."""

import contextlib
import importlib
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from onnxpack import __version__
from onnxpack.errors import EngineError, typed

VERBS = {
    "bench": "Time a model against its source and float32.",
    "build": "Build specs into verified container images.",
    "convert": "Make a SavedModel or TFLite file of an ONNX model.",
    "init": "Look into a model and write a first spec.",
    "inspect": "Show a model, spec, bundle, image or report.",
    "lock": "Pin the Python packages of specs' images.",
    "schema": "Print the JSON Schema of the spec.",
    "validate": "Check specs, and nothing else.",
    "verify": "Compare exported models with their sources, and nothing else.",
    "view": "Open a model in Netron.",
}


class _Verbs(click.Group):
    """Knows the verbs' names and one line about each without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"onnxpack.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = click.utils.make_str(args[0])
        if name not in VERBS:
            from onnxpack.spec.wording import closest

            raise click.UsageError(f"no command '{name}'; {closest(name, VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxpack")
def cli() -> None:
    """One YAML file in; a small, verified, reproducible container image that serves the model out."""


def main() -> None:
    """Runs the command line and exits with the contract's codes."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(_run())
    except click.ClickException as error:
        with contextlib.suppress(OSError):  # there is no room for words
            error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as stop:
        if isinstance(stop.__cause__, EOFError):  # click takes any for ctrl-D at a prompt; there are no prompts here
            _fail(stop.__cause__)
        with contextlib.suppress(OSError):
            click.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:  # the one boundary: everything becomes words and an exit code here
        _fail(error)


def _run() -> int:
    try:
        # Outside click's standalone mode an exit status asked for is returned.
        status: int = cli.main(prog_name="onnxpack", standalone_mode=False)
    except SystemExit:  # whoever read the output has gone
        return EngineError.exit_code
    return status


def _fail(error: Exception) -> NoReturn:
    from onnxpack.cli.failure import tell

    try:
        status = tell(error)
    except OSError:  # there is no room for words either
        known = typed(error)
        status = known.exit_code if known else 1
    sys.exit(status)


def _terminated(signum: int, frame: FrameType | None) -> None:
    # As ctrl-C: every ``finally`` runs, so that children end and nothing partial stays.
    raise KeyboardInterrupt
