"""The command line: the only place that prints and exits. A verb's module is imported when the verb is used."""

import contextlib
import importlib
import io
import sys

import click

from onnxpack import __version__
from onnxpack.core import interrupts
from onnxpack.core.errors import EngineError, classify_error

_INTERRUPTED = 130

VERBS = {
    "bench": "Time a model against its source and float32.",
    "build": "Build specs into verified container images.",
    "cache": "Look into the store of builds, and make room in it.",
    "conformance": "Ask a server all that the Open Inference Protocol says.",
    "convert": "Make a SavedModel or TFLite file of an ONNX model.",
    "diff": "Compare two builds: reports, bundles, images or Git revisions.",
    "init": "Look into a model and write a first spec.",
    "inspect": "Show a model, spec, bundle, image or report.",
    "lock": "Pin the Python packages and bases of specs' images.",
    "manifests": "Write the files that bring a build into a cluster.",
    "plan": "Say what a build would do, and why.",
    "push": "Push an image to a registry.",
    "run": "Serve a spec, bundle or image on this machine.",
    "schema": "Print the JSON Schema of the spec.",
    "validate": "Check specs, and nothing else.",
    "vendor": "Put all that builds need from outside into one file.",
    "verify": "Compare exported models with their sources, and nothing else.",
    "view": "Open a model in Netron.",
}


class _Verbs(click.Group):
    """A click group that knows the verbs' names and one line about each without importing any."""

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
            from onnxpack.spec.messages import suggest_closest

            raise click.UsageError(f"no command '{name}'; {suggest_closest(name, VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxpack")
def cli() -> None:
    """Build a small, verified, reproducible container image that serves a model, from one YAML file."""


def main() -> None:
    """Run the command line and exit with its status.

    It is 0 for done, 2 for usage or a spec, 3 for the source model or the export, 4 for a gate that failed, 5 for
    engine, registry, network or disk, 130 for an interrupt, and 1 for a bug.
    """
    try:
        try:
            interrupts.heed_signals()
            status = _run()
        except KeyboardInterrupt:
            status = _INTERRUPTED
        interrupts.ignore_signals()
    except KeyboardInterrupt:  # a signal of the other kind came at the same moment
        status = _INTERRUPTED
        interrupts.ignore_signals()
    if status == _INTERRUPTED:
        interrupts.put_away_all()
        with contextlib.suppress(OSError):  # there may be no room for words
            click.echo("interrupted", err=True)
    sys.exit(status)


def _run() -> int:
    """Run the verb; return the exit status."""
    try:
        # Outside click's standalone mode an exit status asked for is returned, not raised.
        return int(cli.main(prog_name="onnxpack", standalone_mode=False) or 0)
    except SystemExit:  # whoever read the output has gone
        return EngineError.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):  # there is no room for words
            _show_usage(error)
        return 2
    except click.Abort as stop:
        if isinstance(stop.__cause__, EOFError):  # click takes any for ctrl-D at a prompt; there are no prompts here
            return _tell(stop.__cause__)
        return _INTERRUPTED
    except Exception as error:  # the one boundary: everything becomes words and an exit code here
        # What an interrupt looks like behind code that makes another exception of it.
        return _INTERRUPTED if interrupts.was_interrupted() else _tell(error)


def _show_usage(error: click.ClickException) -> None:
    from onnxpack.core.redact import redact

    words = io.StringIO()
    error.show(words)
    click.echo(redact(words.getvalue()), err=True, nl=False)  # it quotes what was given, which may be a signed URL


def _tell(error: Exception) -> int:
    from onnxpack.cli.failure import tell

    try:
        return tell(error)
    except OSError:  # there is no room for words either
        known = classify_error(error)
        return known.exit_code if known else 1
