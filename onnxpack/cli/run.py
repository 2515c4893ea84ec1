"""``onnxpack run``: a model's server on this machine, of a spec, a bundle or an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, TRUST, spec_files
from onnxpack.cli.each_target import Choice, announce
from onnxpack.core.errors import EngineError, Location, Problem, SpecError
from onnxpack.spec.load import choose_targets

if TYPE_CHECKING:
    from onnxpack.serve.server import Server


@click.command("run")
@click.argument("what", metavar="SPEC|BUNDLE|IMAGE")
@SETTINGS
@click.option("--target", metavar="NAME", help="Serve this target of a spec; it may be left out if there is one.")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT", help="Listen here; by default the image's own port."
)
@TRUST
@SANDBOX
def command(what: str, **options: Any) -> None:
    """Serve a SPEC, a BUNDLE (dist/NAME/TARGET) or an IMAGE on this machine, until ctrl-C.

    A spec is built as far as its bundle, outside of dist. A bundle needs no container: a Python of the image's version
    runs it, or, where there is none, Docker runs its image. When the server is ready, a command that asks it goes to
    stdout; its log goes to stderr. Ctrl-C and SIGTERM let it answer what it accepted. Exit status: 0 it was asked to
    stop, 2 usage or spec, 3 source model or export, 4 it ended by itself, 5 its port is taken, engine, disk.
    """
    from onnxpack.serve.server import serve

    with _open(what, _Options(**options)) as server:
        serve(server, _tell)


@dataclass(frozen=True)
class _Options:
    """The options of the verb, as click hands them over."""

    settings: tuple[str, ...]
    target: str | None
    port: int | None
    trust: bool
    sandbox: bool


def _tell(port: int) -> None:
    from onnxpack.serve.ask import describe_request

    click.echo(f"ready on port {port}; ctrl-C ends it", err=True)
    click.echo(describe_request(port))


@contextmanager
def _open(what: str, said: _Options) -> Iterator["Server"]:
    """Yield the server of what is named; a spec's bundle is there as long."""
    from onnxpack.core.scratch import make_temporary_folder
    from onnxpack.inspection.kinds import kind_of

    path = Path(what)
    if path.is_file() and path.suffix.lower() not in (".yaml", ".yml"):
        hint = "name a spec (.yaml), a bundle (dist/NAME/TARGET) or an image"
        raise SpecError(Problem("this file has no server", hint, Location(what)))
    if any((path / place).is_file() for place in ("Dockerfile", "context/Dockerfile")):
        yield _open_bundle(path, said.port)
    elif not path.is_dir() and kind_of(what) == "image":
        yield _open_image(what, said.port)
    else:
        with make_temporary_folder() as folder:
            yield _open_bundle(_build(path, said, folder), said.port)


def _build(path: Path, said: _Options, folder: Path) -> Path:
    """Build one target of a spec as far as its bundle, and return the bundle's folder."""
    from onnxpack.cli.progress import progress
    from onnxpack.cli.user_store import open_store
    from onnxpack.image import DOCKER, load_engine
    from onnxpack.pipeline.attempt import Wanted, build
    from onnxpack.pipeline.plan import Plan, output_folder
    from onnxpack.pipeline.run import Build

    found = spec_files([path])
    if len(found) > 1:
        raise SpecError(f"'{path}' holds {len(found)} specs", f"name one of them: {', '.join(map(str, found[:10]))}")
    file = Choice(said.settings, (), said.trust, said.sandbox).load(found[0])
    targets = choose_targets(file, (said.target,) if said.target else ())
    if len(targets) > 1:
        hint = f"name one of them by --target: {', '.join(targets)}"
        raise SpecError(Problem("the spec has several targets", hint, file.where("targets")))
    announce(file, targets[0])
    plan = Plan(file, targets[0], output_folder(folder, file, targets[0]), said.sandbox)
    # The engine is not asked for anything: the build ends before the image.
    attempt = build(Build(plan, open_store(), load_engine(DOCKER), progress(targets[0])), Wanted("bundle"))
    if attempt.error:
        raise attempt.error
    return plan.output


def _open_bundle(folder: Path, port: int | None) -> "Server":
    from onnxpack.pipeline.report import read_output_report
    from onnxpack.serve.bundle import BundleServer, find_python, read_bundle

    bundle = read_bundle(folder)
    python = find_python(bundle)
    if python:
        return BundleServer(bundle, python, port or bundle.port)
    reference = (read_output_report(folder).get("image") or {}).get("reference")
    if reference:
        click.echo(f"no Python 3.{bundle.minor} for {bundle.machine} is here: running {reference}", err=True)
        return _open_image(str(reference), port)
    raise EngineError(
        f"the bundle needs Python 3.{bundle.minor} for {bundle.machine}, and this machine has none",
        f"install python3.{bundle.minor}, or build the image and run that: `onnxpack run IMAGE`",
    )


def _open_image(reference: str, port: int | None) -> "Server":
    from onnxpack.image.docker import DockerEngine
    from onnxpack.serve.image import ImageServer, read_image

    engine = DockerEngine()
    image = read_image(engine, reference)
    return ImageServer(engine, image, port or image.port)
