"""Walks the chain of a target without doing anything: which results stand, which are missing, and why.

The stages themselves are walked, with a runner that runs nothing and stops at the first result that is missing; what
comes behind it has another input then. Nothing is written, no process is started and no code of a user runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from onnxpack.bundle.context import compute_content_key
from onnxpack.bundle.lock import lock_path, read
from onnxpack.cache.entry import DATA, read_contents
from onnxpack.cache.store import Store
from onnxpack.core.errors import OnnxpackError
from onnxpack.core.progress import SilentProgress
from onnxpack.pipeline.bundle import gather_ingredients
from onnxpack.pipeline.chain import Stage, chain
from onnxpack.pipeline.forecast import StageForecast
from onnxpack.pipeline.present import Present
from onnxpack.pipeline.reasons import (
    GONE,
    INPUT_CHANGES,
    NEVER,
    compare_fields,
    compare_packages,
    compare_trace,
    explain_step,
)
from onnxpack.pipeline.receipts import Asked, History, Receipt
from onnxpack.pipeline.requests import Step, describe_request
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.runner import Apart, Runner, base_key, read_result
from onnxpack.spec.load import to_plain
from onnxpack.worker.code import digest_code
from onnxpack.worker.codec import digest_value
from onnxpack.worker.task import Task, find_result_type

ResultT = TypeVar("ResultT")

UNCHANGED, RUNS, FOLLOWS, FAILS = "unchanged", "runs", "follows", "fails"
"""What a stage will do: nothing; its work; its work, if what comes before it gives something else than it gave; what
it found the last time, an error."""
_JUDGE = "judge"
"""The stage that judges the model that ships, where the spec asks for no transform: it has no name of its own."""


class MissingError(Exception):
    """The result of this step is not in the store."""

    def __init__(self, step: Step, traces: int) -> None:
        super().__init__(step.name)
        self.step = step
        self.known = traces
        """How many results of this very request were stored at some time."""


class PreviewRunner(Runner):
    """A runner that runs nothing and writes nothing."""

    IDLE = True

    def run(self, task: Task[ResultT], apart: Apart | None = None, of: str = "", reused: str = "unchanged") -> ResultT:
        """Return the stored result of a task.

        Raises:
            MissingError: there is none.
        """
        environment = apart.key if apart else ""
        base = base_key(task, environment)
        traces = self.read_traces(task.NAME, base)
        for trace in reversed(traces):
            found = self._glance(task.NAME, digest_value((base, trace))) if trace.holds(self.root) else None
            if found:
                return read_result(found, find_result_type(type(task)))
        last = traces[-1:]
        step = Step(task.NAME, of, describe_request(task).tree, environment, *last)
        raise MissingError(step, len(traces))

    def keep(
        self, name: str, request: Any, kind: type[ResultT], module: str, make: Callable[[], ResultT], *, of: str = ""
    ) -> ResultT:
        """Return the stored result of work of this process.

        Raises:
            MissingError: there is none.
        """
        found = self._glance(name, digest_value((name, digest_code(module), request)))
        if found:
            return read_result(found, kind)
        raise MissingError(Step(name, of, describe_request(request).tree), 0)

    def _glance(self, name: str, key: str) -> Path | None:
        entry = self.store.root / name / key
        return entry / DATA if read_contents(entry) is not None else None


@dataclass(frozen=True)
class Before:
    """What is known of the last build of a target; nothing where there was none."""

    receipt: Receipt | None = None
    history: History = field(default_factory=History)


def preview_stages(run: Build, asked: Asked, before: Before, present: Present) -> tuple[StageForecast, ...]:
    """Return what a build would do, stage by stage; one that is known to fail is the last."""
    return tuple(_Walk(run, asked, before, present).walk())


class _Walk:
    """One walk over the chain of a target."""

    def __init__(self, run: Build, asked: Asked, before: Before, present: Present) -> None:
        plan = run.plan
        runner = PreviewRunner(Store(run.store.root), SilentProgress(), plan.file.root, plan.sandbox)
        run.__dict__["runner"] = runner  # where the cached property keeps its value
        self._run, self._asked, self._before, self._present = run, asked, before, present
        self._fields = list(compare_fields(before.history.spec, to_plain(plan.file.spec))) if before.receipt else []
        self._product = Product()
        self._told: set[str] = set()
        self._follows = False

    def walk(self) -> Iterator[StageForecast]:
        """Yield the stages in their order."""
        for stage in chain(self._run.plan, self._asked.until):
            name = "/".join(stage.names) or _JUDGE
            try:
                reasons = self._look(stage)
            except OnnxpackError as error:
                yield StageForecast(name, FAILS, tuple(problem.message for problem in error.problems))
                return
            if reasons is None:
                yield StageForecast(name, UNCHANGED)
                continue
            self._told.update(reasons)
            yield StageForecast(name, RUNS if reasons else FOLLOWS, tuple(reasons) or (INPUT_CHANGES,))

    def _look(self, stage: Stage) -> list[str] | None:
        """Return why a stage has work to do; nothing where only its input changes, None where it has none."""
        first = next(iter(stage.names), _JUDGE)
        if first == "base":
            return self._look_at_base()
        if first == "bundle":
            return self._look_at_bundle()
        if first in ("image", "reproduce", "push"):
            return self._look_at_image(first)
        if self._follows:
            return self._list_own_fields(stage)
        try:
            self._product = stage.apply(self._run, self._product)
        except MissingError as missing:
            self._follows = True
            return self._explain(missing)
        return None

    def _explain(self, missing: MissingError) -> list[str]:
        """Return why the result of a step is missing: by its last run, else by the last result of the same request."""
        new = missing.step
        history, root = self._before.history, self._run.plan.file.root
        old = history.find(new)
        found = explain_step(new, history, root) if old else list(dict.fromkeys(compare_trace(new.trace, root)))
        return found or [GONE if old or missing.known else NEVER]

    def _list_own_fields(self, stage: Stage) -> list[str]:
        """Return the fields that changed and were part of what a stage behind the first change was asked."""
        names = {part for name in stage.names or (_JUDGE,) for part in _TASKS.get(name, (name,))}
        steps = [step for step in self._before.history.steps if step.name in names]
        own = {field for step in steps for part in _find_parts(step.request) for field in part}
        return [words for words in self._fields if words.split(" ")[0].split(".")[0] in own and words not in self._told]

    def _look_at_base(self) -> list[str] | None:
        receipt, known = self._before.receipt, self._before.history.base
        if receipt is None or not known:
            return [NEVER]
        names = [name for name, one in receipt.images.items() if one == known]
        moved = [name for name in names if self._present.images.get(name) != known]
        archive = next((file for file in receipt.files if file.path == self._asked.base and not file.is_same()), None)
        base = [words for words in self._fields if words.startswith("image.base ")]
        if archive:
            return [f"{self._asked.base} changed"]
        return base or [f"{name} is another image now, or gone" for name in moved] or None

    def _look_at_bundle(self) -> list[str] | None:
        lock = lock_path(self._run.plan.file.path)
        if not lock.exists():
            self._follows = True
            return [f"there is no {lock.name}: the newest packages are chosen"]
        if self._follows:
            return [*self._compare_lock(lock), *(words for words in self._fields if words not in self._told)]
        assert self._product.model
        try:
            found = gather_ingredients(self._run, self._product.model)
        except MissingError as missing:
            self._follows = True
            return self._explain(missing)
        if compute_content_key(found.parts) == self._before.history.content:
            return None
        self._follows = True
        if self._before.receipt is None:
            return [NEVER]
        return [words for words in self._fields if words not in self._told] or ["its templates or its model changed"]

    def _compare_lock(self, lock: Path) -> list[str]:
        """Return what changed in a lock, where the rest of the request is not known yet."""
        old = next((step for step in self._before.history.steps if step.name == "bundle"), None)
        target = read(lock).get(self._run.plan.target)
        if old is None or target is None:
            return []
        now = cast("dict[str, Any]", describe_request(target).tree)
        kept = {one["name"] for one in old.request["packages"]}
        packages = [one for one in now["packages"] if one["name"] in kept]
        return list(compare_packages(old.request["packages"], packages))

    def _look_at_image(self, stage: str) -> list[str] | None:
        if self._follows:
            return []
        receipt = self._before.receipt
        if stage == "reproduce" or receipt is None:
            return ["it is done in each build"] if receipt else [NEVER]
        if stage == "push":
            return None  # the registry is asked by a build
        lost = [
            f"the engine has no {name}"
            for name, known in receipt.images.items()
            if known == receipt.image and self._present.images.get(name) != known
        ]
        return lost or None


_TASKS = {
    "precision": ("calibrate", "sensitivity", "precision", "evaluate", "measure"),
    _JUDGE: ("evaluate", "batching"),
}
"""The names of the steps of a stage whose own name they do not have."""


def _find_parts(request: Any) -> Iterator[dict[str, Any]]:
    """Yield the fields of each part of a spec in a request."""
    if isinstance(request, dict):
        if request.keys() == {"place", "spec", "files"}:
            yield request["spec"]
        for value in request.values():
            yield from _find_parts(value)
    elif isinstance(request, list):
        for value in request:
            yield from _find_parts(value)
