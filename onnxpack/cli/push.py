"""``onnxpack push``: an image to a registry."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.image import list_engines

if TYPE_CHECKING:
    from onnxpack.image.engine import Engine


@click.command("push")
@click.argument("source")
@click.argument("references", nargs=-1, metavar="[REFERENCE…]")
@click.option(
    "--engine", type=click.Choice(list_engines()), default=None,
    help="Which engine has the image, where SOURCE is no file.  [default: Docker's where one answers, else oci]",
)  # fmt: skip
@click.pass_context
def command(ctx: click.Context, source: str, references: tuple[str, ...], engine: str | None) -> None:
    """Push SOURCE to a registry under each REFERENCE, or under the names that it has.

    SOURCE is a bundle (dist/NAME/TARGET), an image.tar, an OCI layout, or the name of an image that the engine has.
    What the registry has already is not sent. Logins are Docker's: `docker login`, or a config.json in DOCKER_CONFIG.
    Once the registry has been read back, repository@sha256:… goes to stdout. Exit status: 0 done, 2 usage or no such
    image, 5 engine, registry, network or disk.
    """
    from onnxpack.cli.progress import progress
    from onnxpack.core.errors import SpecError
    from onnxpack.image import choose_engine, load_engine
    from onnxpack.image.deliver import push_image, push_path

    def load() -> "Engine":
        return load_engine(engine or choose_engine())

    path = Path(source)
    if path.exists():
        pushed = push_path(path, references, load, progress())
    else:
        having = load()
        image = having.find(source)
        if image is None:
            hint = "name an image.tar, an OCI layout, a bundle (dist/NAME/TARGET) or an image of the engine"
            raise SpecError(f"'{source}' is neither a path nor an image that the engine has", hint)
        pushed = push_image(having, image.id, references or (source,), progress())
    click.echo("\n".join(pushed))
    ctx.exit(0)
