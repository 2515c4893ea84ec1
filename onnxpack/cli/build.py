"""``onnxpack build``: specs as verified container images."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpack.cli.arguments import SANDBOX, SETTINGS, SPECS, TRUST
from onnxpack.cli.each_target import Choice, EachTarget, announce
from onnxpack.cli.progress import progress
from onnxpack.core.errors import OnnxpackError, Problem, SpecError
from onnxpack.image import DAEMONLESS, DOCKER, choose_engine, list_engines, load_engine
from onnxpack.oci import COMPRESSIONS
from onnxpack.pipeline import UNTIL
from onnxpack.pipeline.receipts import Asked, Receipt
from onnxpack.pipeline.unchanged import Unchanged
from onnxpack.spec.load import SpecFile

if TYPE_CHECKING:
    from onnxpack.cache.store import Store
    from onnxpack.pipeline.attempt import Wanted
    from onnxpack.pipeline.report import Attempt


NO_ENGINE = "none"
"""The word for a build that ends before the image."""
_WITH_IMAGE = UNTIL[UNTIL.index("bundle") + 1 :]
"""The stages that need an engine."""


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
@click.option("--no-cache", is_flag=True, help="Take nothing that an earlier build made.")
@click.option("--require-gates", is_flag=True, help="Fail, with 4, where a gate cannot be judged.")
@click.option("--keep-last", is_flag=True, help="Put the last good output aside, in the store, if this build fails.")
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
    from onnxpack.cli.user_store import open_store
    from onnxpack.pipeline.attempt import Wanted

    said = _Options(**options)
    until = min(said.until, "bundle", key=UNTIL.index) if said.engine == NO_ENGINE else said.until
    engine = _choose_engine(said, until)
    how = _How(said.output.absolute(), engine, Wanted(until, said.keep_last), said)
    builds = _Builds(said, how, open_store(fresh=said.no_cache), show=not said.as_json)
    status = builds.run(specs)
    # Also where some failed: the page says which.
    left = refresh_index(how.output, several=len(builds.documents) > 1)
    ctx.exit(status or left)


def refresh_index(output: Path, *, several: bool) -> int:
    """Write the page about all builds in a folder, after ``several`` or if it has one; return the exit status."""
    from onnxpack.cli.failure import tell
    from onnxpack.reports.index import INDEX, has_index, write_index

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
    no_cache: bool
    require_gates: bool
    keep_last: bool
    as_json: bool


@dataclass(frozen=True)
class _How:
    """The options of the command line that hold for every build."""

    output: Path
    engine: str
    wanted: "Wanted"
    said: _Options


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
    engine = said.engine or (DAEMONLESS if said.base or said.vendor else choose_engine())
    if said.base and engine != DAEMONLESS:
        raise click.UsageError(f"--base is for `--engine {DAEMONLESS}`: Docker takes a base by `docker load -i FILE`")
    if said.vendor and engine != DAEMONLESS:
        raise click.UsageError(f"--vendor is for `--engine {DAEMONLESS}` or {NO_ENGINE}: Docker pulls its bases itself")
    if engine != said.engine:
        click.echo(f"engine: {engine}", err=True)
    return engine


class _Builds(EachTarget):
    """All builds of one command."""

    stage = "output"  # a build tells its own failures: what is left is that the place of its outputs is taken

    def __init__(self, choice: Choice, how: _How, store: "Store", *, show: bool) -> None:
        super().__init__(choice, show=show)
        self._how = how
        self._store = store
        self._places: dict[Path, Path] = {}
        """The first spec of this command that builds into each folder."""
        self._pushed: dict[tuple[Path, str], str] = {}
        """The ids of the images that were pushed, by spec and target."""
        self._unchanged = Unchanged(store, self._ask)

    def pass_over(self, path: Path) -> bool:
        """Tell the results of a spec of which nothing changed."""
        # One name for all platforms is pushed by what the spec says.
        found = None if self._how.said.push else self._unchanged.find_all(path, self.choice.targets)
        if found is None or not all(self._claim(Path(one.output), Path(one.spec)) for one in found):
            return False
        for receipt in found:
            self._leave(receipt)
        return True

    def lose(self, path: Path, error: OnnxpackError) -> None:
        """Leave no output that could be taken for one of the spec as it is now."""
        from onnxpack.pipeline.attempt import mark_failed

        mark_failed(self._how.output, path, error)

    def work(self, file: SpecFile, target: str) -> None:
        """Build one target."""
        from onnxpack.pipeline.attempt import build
        from onnxpack.pipeline.plan import Plan, output_folder
        from onnxpack.pipeline.push import require_registry
        from onnxpack.pipeline.receipt_writer import write_receipt
        from onnxpack.pipeline.report import describe_attempt
        from onnxpack.pipeline.run import Build

        how = self._how
        place = output_folder(how.output, file, target, how.wanted.until)
        plan = Plan(file, target, place, self.choice.sandbox, how.said.verify_reproducible, how.said.push)
        if plan.push:
            require_registry(plan)
        if not self._claim(plan.output, file.path):
            first = self._places[plan.output]
            text = f"'{first.name}' in {first.parent} builds '{file.spec.name}', target '{target}' too"
            raise SpecError(Problem(text, "change the `name` of one of them", file.where("name")))
        if receipt := self._unchanged.find(file.path, target):
            self._leave(receipt)
            return
        announce(file, target)
        self._unchanged.forget()
        engine, said = load_engine(how.engine), how.said
        run = Build(
            plan,
            self._store,
            engine,
            progress(target),
            said.budget,
            said.require_gates,
            said.compression,
            said.base,
            said.vendor.absolute() if said.vendor else None,
        )
        started = time.monotonic()
        attempt = build(run, how.wanted)
        if attempt.error:
            self.fail(describe_attempt(attempt), attempt.error)
        else:
            write_receipt(run, self._unchanged.ask(file.path), attempt)
            self.documents.append(describe_attempt(attempt))
            if attempt.product.image and attempt.product.pushed:
                self._pushed[file.path, target] = attempt.product.image.id
            self._show_result(attempt, time.monotonic() - started)

    def _claim(self, output: Path, spec: Path) -> bool:
        """Return whether a folder of outputs is a spec's own: the first that builds there has it."""
        return self._places.setdefault(output, spec) == spec

    def _ask(self, spec: str) -> Asked:
        how, said = self._how, self._how.said
        return Asked(
            spec, str(how.output), said.settings, said.trust, said.sandbox, how.wanted.until, how.engine,
            str(said.base.absolute()) if said.base else None, said.compression, said.budget, said.require_gates,
            said.verify_reproducible, said.push, str(said.vendor.absolute()) if said.vendor else None,
        )  # fmt: skip

    def _leave(self, receipt: Receipt) -> None:
        """Tell what a target has that is as its last build left it."""
        click.echo(f"{receipt.name}, target {receipt.target}: unchanged", err=True)
        if receipt.image and receipt.pushed:
            self._pushed[Path(receipt.spec), receipt.target] = receipt.image
        if self.show:
            click.echo(receipt.result)
        else:
            from onnxpack.pipeline.report import describe_unchanged

            self.documents.append(describe_unchanged(Path(receipt.output)))

    def finish(self, file: SpecFile) -> None:
        """Push one name for all platforms of a spec, if the image of each was pushed."""
        from onnxpack.image.deliver import push_joined
        from onnxpack.pipeline.index import list_joined, name_joined

        name, targets = name_joined(file.spec), file.spec.targets
        images: dict[str, str] = {
            targets[one].platform: self._pushed.get((file.path, one), "") for one in list_joined(file.spec)
        }
        if name is None or not self._how.said.push:
            return
        if not all(images.values()):
            click.echo(f"{name} is left as it is: not all of its platforms were pushed", err=True)
            return
        engine, compression = load_engine(self._how.engine), self._how.said.compression
        pushed = push_joined(engine, images, name, progress(file.spec.name), compression=compression)
        click.echo(f"{name}: {', '.join(images)}", err=True)
        if self.show:
            click.echo(pushed)

    def _show_result(self, attempt: "Attempt", elapsed: float) -> None:
        from onnxpack.cli.summary import summarize
        from onnxpack.precision.candidates import format_candidates

        product = attempt.product
        if product.candidates:
            click.echo(format_candidates(product.candidates), err=True)
        click.echo("\n".join(summarize(attempt, elapsed)), err=True)
        if self.show:
            click.echo(attempt.result)
