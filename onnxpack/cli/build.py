"""``onnxpack build``: specs as verified container images."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST
from onnxpack.cli.each_target import Choice
from onnxpack.cli.locked import LOCKED, require_fresh_locks
from onnxpack.cli.outcome_files import OutcomeFiles
from onnxpack.fleet.job import Options as BuildOptions
from onnxpack.fleet.shard import Shard
from onnxpack.image import DAEMONLESS, DOCKER, choose_engine, list_engines
from onnxpack.oci import COMPRESSIONS
from onnxpack.pipeline import UNTIL
from onnxpack.reports import INDEX

if TYPE_CHECKING:
    from onnxpack.cli.builds import Asked


NO_ENGINE = "none"
"""The word for a build that ends before the image."""
_WITH_IMAGE = UNTIL[UNTIL.index("bundle") + 1 :]
"""The stages that need an engine."""


FILE = click.Path(path_type=Path, dir_okay=False)


def _read_shard(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Shard | None:
    """Read ``2/5`` as the second of five parts."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.count:
        raise click.BadParameter("it is a part and the number of parts, such as 2/5; the first part is 1")
    return shard


@click.command("build")
@SPECS
@SETTINGS
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Build this target alone; repeatable.")
@click.option(
    "--until", type=click.Choice(UNTIL), default=UNTIL[-1],
    help="Stop after this stage; before `bundle` the model goes to <name>/<target>.<stage>/.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"), show_default=True,
    help="Where <name>/<target>/ is written.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice([*list_engines(), NO_ENGINE]),
    help="docker, if an engine answers, else oci, which needs none and leaves image.tar; none leaves a context that "
    "`docker build` takes.",
)  # fmt: skip
@click.option(
    "--base", type=click.Path(path_type=Path, exists=True), metavar="PATH",
    help="Take the base image from this archive or OCI layout, instead of its registry; with the engine oci.",
)  # fmt: skip
@click.option(
    "--vendor", type=click.Path(path_type=Path, exists=True), metavar="PATH",
    help="Take wheels, base image and models from this bundle of `onnxpack vendor`, or the folder that it was unpacked "
    "into, and use no network; with the engine oci, or none.",
)  # fmt: skip
@click.option(
    "--compression", type=click.Choice(COMPRESSIONS), default=COMPRESSIONS[0], show_default=True,
    help="How layers are compressed: zstd is smaller, and needs Docker 23 or containerd 1.5 where the image runs.",
)  # fmt: skip
@click.option(
    "--budget", type=click.FloatRange(min=0), default=600.0, show_default=True, metavar="SECONDS",
    help="How long `precision: auto` may try one precision after another.",
)  # fmt: skip
@click.option(
    "--verify-reproducible", is_flag=True,
    help="Build each image a second time, with nothing stored and in another time zone, locale, umask and folder, and "
    "fail, with 4, if its digest differs.",
)  # fmt: skip
@click.option(
    "--push", is_flag=True,
    help="Push the image to the registry of `image.repository` once it has passed; images of several platforms get one "
    "name besides, the version.",
)  # fmt: skip
@LOCKED
@click.option("--no-cache", is_flag=True, help="Take nothing that an earlier build made.")
@click.option("--require-gates", is_flag=True, help="Fail, with 4, where a gate cannot be judged.")
@click.option("--keep-last", is_flag=True, help="Put the last good output aside, in the store, if this build fails.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N",
    help="Build so many targets at once; by default as many as there are cores, and as their memory allows. One spec's "
    "are built one after another.",
)  # fmt: skip
@click.option(
    "--scheduler", metavar="URL",
    help="Build on the workers of a Dask cluster, whose scheduler is at dask://HOST:PORT; with the engine oci, or with "
    "--push. It needs the extra `dask`.",
)  # fmt: skip
@click.option("--fail-fast", is_flag=True, help="Begin nothing more, and end what runs, once one has failed.")
@click.option(
    "--shard", type=click.UNPROCESSED, callback=_read_shard, metavar="I/N",
    help="Build the specs of part I of N alone: so N machines build all of them, each spec once.",
)  # fmt: skip
@click.option("--junit", type=FILE, metavar="FILE", help="Write what became of each target as JUnit XML.")
@click.option("--code-quality", type=FILE, metavar="FILE", help="Write what failed as a GitLab code quality report.")
@click.option(
    "--github", is_flag=True,
    help="Tell GitHub Actions: annotations, outputs and summary; by itself where GITHUB_ACTIONS is `true`.",
)  # fmt: skip
@TRUST
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON list, also of what failed.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    specs: tuple[Path, ...],
    **options: Any,
) -> None:
    """Build each SPEC, a file or a folder of them, into a verified image per target.

    The image's reference goes to stdout, everything else to stderr. Exit status: 0 done, 2 usage or spec, 3 source
    model or export, 4 a gate failed, 5 engine, registry, network or disk, 130 interrupted, 1 a bug.
    """
    from onnxpack.cli.builds import Builds
    from onnxpack.cli.user_store import open_store

    said = _Options(**options)
    _check_scheduler(said)
    until = min(said.until, "bundle", key=UNTIL.index) if said.engine == NO_ENGINE else said.until
    if said.locked:
        require_fresh_locks(said, specs, said.shard, said.outcome_files, as_json=said.as_json)
    wanted = said.choose_options(_choose_engine(said, until), until)
    builds = Builds(said.choose_view(), wanted, open_store(fresh=said.no_cache))
    status = builds.run(specs)
    # Also where some failed: the page says which.
    left = 0 if builds.idle and (wanted.output / INDEX).is_file() else refresh_index(wanted.output, builds.several)
    ctx.exit(status or left)


def refresh_index(output: Path, several: bool) -> int:
    """Write the page about all builds in a folder, after ``several`` or if it has one; return the exit status."""
    from onnxpack.cli.failure import tell
    from onnxpack.reports.index import has_index, write_index

    if not output.is_dir() or not (several or has_index(output)):
        return 0
    try:
        if not write_index(output):
            click.echo(f"{output / INDEX} is left as it is: onnxpack did not make it", err=True)
    except OSError as error:
        return tell(error)
    return 0


@dataclass(frozen=True)
class _Options(Choice):
    """The options of the verb, as click hands them over."""

    until: str
    output: Path
    engine: str | None
    base: Path | None
    vendor: Path | None
    compression: str
    budget: float
    verify_reproducible: bool
    push: bool
    locked: bool
    no_cache: bool
    require_gates: bool
    keep_last: bool
    as_json: bool
    jobs: int | None
    scheduler: str | None
    fail_fast: bool
    shard: Shard | None
    junit: Path | None
    code_quality: Path | None
    github: bool

    def choose_options(self, engine: str, until: str) -> BuildOptions:
        """Return what is asked of each build."""
        return BuildOptions(
            output=self.output.absolute(),
            engine=engine,
            until=until,
            settings=self.settings,
            trust=self.trust,
            sandbox=self.sandbox,
            budget=self.budget,
            require_gates=self.require_gates,
            compression=self.compression,
            base=self.base,
            vendor=self.vendor.absolute() if self.vendor else None,
            keep_last=self.keep_last,
            reproduce=self.verify_reproducible,
            push=self.push,
            fresh=self.no_cache,
        )

    def choose_view(self) -> "Asked":
        """Return what is asked of the command as a whole."""
        from onnxpack.cli.builds import Asked

        return Asked(
            self.targets, self.jobs, self.scheduler, self.fail_fast, self.shard, self.as_json, self.outcome_files
        )

    @property
    def outcome_files(self) -> OutcomeFiles:
        """Return what is to be told to other programs."""
        github = self.github or os.environ.get("GITHUB_ACTIONS") == "true"
        return OutcomeFiles(self.junit, self.code_quality, github)


def _check_scheduler(said: _Options) -> None:
    """Refuse what holds for this machine alone where a cluster builds.

    Raises:
        UsageError: something of the kind was asked for.
    """
    if said.scheduler is None:
        return
    if said.jobs:
        raise click.UsageError(
            "--jobs is for builds on this machine: a cluster's workers say how many they run at once"
        )
    if said.keep_last:
        raise click.UsageError("--keep-last puts outputs into this machine's store: leave it out with --scheduler")
    if said.engine == DOCKER and not said.push:
        hint = f"add --push, or use `--engine {DAEMONLESS}`"
        raise click.UsageError(f"with --scheduler the engine {DOCKER} leaves images on the workers: {hint}")


def _choose_engine(said: _Options, until: str) -> str:
    """Return the engine to use: a build that ends before the image asks none whether it is there.

    Raises:
        UsageError: the engine takes no base from a file.
    """
    if until not in _WITH_IMAGE:
        if said.push:
            raise click.UsageError(
                "--push needs an image that has passed its smoke test: leave out --until and --engine none"
            )
        return DOCKER
    if said.push and until != UNTIL[-1]:
        raise click.UsageError("--push needs an image that has passed its smoke test: leave out --until")
    engine = said.engine or (DAEMONLESS if said.base or said.vendor or said.scheduler else choose_engine())
    if said.base and engine != DAEMONLESS:
        raise click.UsageError(f"--base is for `--engine {DAEMONLESS}`: Docker takes a base by `docker load -i FILE`")
    if said.vendor and engine != DAEMONLESS:
        raise click.UsageError(f"--vendor is for `--engine {DAEMONLESS}` or {NO_ENGINE}: Docker pulls its bases itself")
    if engine != said.engine:
        click.echo(f"engine: {engine}", err=True)
    return engine
