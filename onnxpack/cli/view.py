"""``onnxpack view``: a model in Netron."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import click

_PORT = 8081


@click.command("view")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True, help="Of this machine alone.")
@click.option("--browser/--no-browser", default=True, help="Whether a browser is opened on it.")
@click.pass_context
def command(ctx: click.Context, path: Path, port: int, browser: bool) -> None:
    """Open the model at PATH, a file or a bundle, in Netron, until ctrl-C.

    Netron is the extra `view`. Its address goes to stdout.
    """
    from onnxpack.core.errors import EngineError, Location, Problem, SpecError
    from onnxpack.core.values import MODEL

    model = path / MODEL if path.is_dir() else path
    if not model.is_file():
        raise SpecError(
            Problem("there is no such file", "give the path of a model's file or of a bundle", Location(str(model)))
        )
    if importlib.util.find_spec("netron") is None:
        raise SpecError("Netron, which shows models, is not installed", "run `pip install 'onnxpack[view]'`")
    netron: Any = importlib.import_module("netron")
    try:
        host, taken = netron.start(str(model), address=("localhost", port), browse=browser)
    except OSError as error:
        raise EngineError(f"Netron cannot listen on port {port}: {error.strerror}", "choose another --port") from None
    click.echo(f"http://{host}:{taken}")
    netron.wait()
    ctx.exit(0)
