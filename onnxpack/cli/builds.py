"""All builds of one command: an executor runs its jobs, and a view and files tell what became of each."""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxpack.cli.arguments import spec_files
from onnxpack.cli.failure import tell
from onnxpack.cli.fleet_view import PlainView, choose_view
from onnxpack.cli.full_view import FullView
from onnxpack.cli.outcome_files import OutcomeFiles
from onnxpack.cli.prepared import Prepared, PreparedSpec
from onnxpack.core.errors import EngineError, OnnxpackError
from onnxpack.fleet.events import AnyEvent, Finished
from onnxpack.fleet.job import Options, Outcome
from onnxpack.fleet.rows import Row
from onnxpack.fleet.shard import Shard, choose_shard

if TYPE_CHECKING:
    from onnxpack.cache.store import Store
    from onnxpack.fleet.executor import Executor
    from onnxpack.spec.load import SpecFile


@dataclass(frozen=True)
class Asked:
    """What the command line asks for, besides the options of each build."""

    targets: tuple[str, ...]
    jobs: int | None
    """How many builds may run at once; None chooses."""
    scheduler: str | None
    """The URL of the scheduler whose cluster builds; None builds here."""
    fail_fast: bool
    shard: Shard | None
    as_json: bool
    """The reports go to stdout, instead of the images' references."""
    files: OutcomeFiles


class Builds:
    """All builds of one command."""

    def __init__(self, asked: Asked, options: Options, store: "Store") -> None:
        self._asked = asked
        self._options = options
        self._store = store
        self._all = Prepared(options, asked.targets, store, reports=asked.as_json or asked.files.any)
        self._joined: dict[Path, str] = {}
        """The images of all platforms that were pushed, by spec."""

    @property
    def several(self) -> bool:
        """Return whether there were several targets."""
        return len(self._all.rows) > 1

    @property
    def idle(self) -> bool:
        """Return whether all targets stood already, so that nothing was changed."""
        return all(row.outcome and row.outcome.state == "unchanged" for row in self._all.rows)

    def run(self, specs: Iterable[Path]) -> int:
        """Build the specs, files and folders of them; return the exit code of the first that failed, else 0.

        Raises:
            SpecError: a folder holds no spec.
            OSError: a file for other programs cannot be written.
        """
        started = time.monotonic()
        paths = spec_files(specs)
        self._all.add_all(choose_shard(paths, self._asked.shard) if self._asked.shard else paths)
        if not self._all.jobs:
            self._store.sweep()  # a build does that, and there is none: what was killed last may have left something
        with self._asked.files.guarding():
            stopped = self._build()
        self._print()
        self._asked.files.write(self._list_rows(), time.monotonic() - started)
        failed = (row.ended.exit_code for row in self._list_rows() if row.failed)
        return next(failed, getattr(stopped, "exit_code", EngineError.exit_code) if stopped else 0)

    def _build(self) -> Exception | None:
        """Build what is to be built, and show it; return why no job could be run any more, if that is so."""
        workers, view = self._choose_view()
        with view:
            for row in self._all.rows:
                if row.outcome:
                    view.end(row)
            stopped = self._run(self._choose_executor(workers, view), view) if workers else None
        for spec in self._all.specs:
            self._join(spec, view)
        view.close(self._list_rows())
        if stopped:
            tell(stopped)
        return stopped

    def _choose_view(self) -> tuple[int, FullView | PlainView]:
        """Return how many jobs may run at once, and how they are shown: in full where one spec is built here."""
        from onnxpack.fleet.machine import count_cores

        if self._asked.scheduler:
            return len(self._all.jobs), choose_view(len(self._all.rows))
        one = len(self._all.specs) == 1
        workers = min(self._asked.jobs or (1 if one else count_cores()), len(self._all.jobs))
        return workers, FullView() if one and workers <= 1 else choose_view(len(self._all.rows))

    def _choose_executor(self, workers: int, view: FullView | PlainView) -> "Executor":
        """Return what runs the jobs; it is imported when there are some, since it takes longer than to know of none."""
        if self._asked.scheduler:
            from onnxpack.fleet.dask import DaskCluster

            return DaskCluster(self._asked.scheduler, self._store)
        from onnxpack.fleet.here import ThisProcess
        from onnxpack.fleet.local import LocalProcesses

        if workers > 1:
            return LocalProcesses(workers)
        return ThisProcess(self._store, view.look if isinstance(view, FullView) else None)

    def _run(self, executor: "Executor", view: FullView | PlainView) -> Exception | None:
        """Run all jobs; return why no more could be run, if that is so."""
        from onnxpack.fleet.work import cancel_job

        def hear(event: AnyEvent) -> None:
            if isinstance(event, Finished):
                row = self._end(event.job, event.outcome)
                view.end(row)
                if self._asked.fail_fast and row.failed:
                    executor.cancel()
            else:
                view.hear(self._all.rows[event.job], event)

        stopped: Exception | None = None
        with contextlib.closing(executor):
            if self._asked.fail_fast and any(row.outcome and row.failed for row in self._all.rows):
                executor.cancel()
            try:
                executor.run(self._all.jobs, hear)
            except (OnnxpackError, OSError) as error:
                stopped = error
        for job in self._all.jobs:
            if self._all.rows[job.number].outcome is None:
                self._end(job.number, cancel_job(job))
        return stopped

    def _end(self, number: int, outcome: Outcome) -> Row:
        row = self._all.rows[number] = replace(self._all.rows[number], outcome=outcome)
        return row

    def _join(self, spec: PreparedSpec, view: FullView | PlainView) -> None:
        """Push one name for all platforms of a spec, if the image of each was pushed."""
        from onnxpack.pipeline.report import describe_failed_attempt

        if spec.file is None or not self._options.push:
            return
        pushed = {row.target: row.ended.pushed for row in map(self._all.rows.__getitem__, spec.numbers)}
        if self._asked.scheduler:
            pushed = {}  # the images are where they were built: nobody here could join them
        try:
            self._joined[spec.path] = _push_joined(spec.file, pushed, self._options)
        except (OnnxpackError, OSError) as error:
            name = spec.file.spec.name
            document = describe_failed_attempt(str(spec.path), "push", error) | {"name": name}
            row = Row(spec.path, name, outcome=Outcome(len(self._all.rows), "failed", document))
            self._all.add(spec, row)
            view.end(row)

    def _print(self) -> None:
        """Print the results for other programs, in the order of the specs."""
        if self._asked.as_json:
            click.echo(json.dumps([dict(row.ended.document) for row in self._list_rows()], indent=2))
            return
        for spec in self._all.specs:
            results = [self._all.rows[number].ended.result for number in spec.numbers]
            for result in filter(None, (*results, self._joined.get(spec.path))):
                click.echo(result)

    def _list_rows(self) -> Sequence[Row]:
        """Return the rows in the order of the specs."""
        return [self._all.rows[number] for spec in self._all.specs for number in spec.numbers]


def _push_joined(file: "SpecFile", pushed: Mapping[str, str], options: Options) -> str:
    """Push one name for all platforms of a spec, and return its reference; empty if not all were pushed.

    ``pushed`` has the ids of the images that were pushed, by target.
    """
    from onnxpack.cli.progress import progress
    from onnxpack.image import load_engine
    from onnxpack.image.deliver import push_joined
    from onnxpack.pipeline.index import list_joined, name_joined

    name, targets = name_joined(file.spec), file.spec.targets
    images: dict[str, str] = {targets[one].platform: pushed.get(one, "") for one in list_joined(file.spec)}
    if name is None:
        return ""
    if not all(images.values()):
        click.echo(f"{name} is left as it is: not all of its platforms were pushed from this machine", err=True)
        return ""
    engine = load_engine(options.engine)
    reference = push_joined(engine, images, name, progress(file.spec.name), compression=options.compression)
    click.echo(f"{name}: {', '.join(images)}", err=True)
    return reference
