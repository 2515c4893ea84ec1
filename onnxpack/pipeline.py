"""The chain of stages for one target. Each takes values and gives values; a result that stands already is taken."""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from onnxpack.bundle import lock as locks
from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL, Context, assemble, model_files
from onnxpack.bundle.packages import install, provider_libraries
from onnxpack.child import call
from onnxpack.engines.docker import DockerEngine, Image
from onnxpack.engines.interrupts import afterwards
from onnxpack.errors import Location, OnnxpackError, Problem, SpecError
from onnxpack.isolated import environment
from onnxpack.output import replacing
from onnxpack.plan import STAGES, Plan
from onnxpack.progress import Progress
from onnxpack.reads import remember, remembered
from onnxpack.remote import brought_here
from onnxpack.report import Built, Parity, StageRecord, parity_of, to_json
from onnxpack.smoke import Smoke, smoke_test
from onnxpack.spec.load import SpecFile
from onnxpack.store import Store, digest, tool_digest
from onnxpack.values import MODEL, REFERENCE, OnnxModel, Reference, model_from
from onnxpack.verify import Comparison, require

LOCATE_SECONDS = 300
"""How long a build that failed may look for where the difference comes from."""


@dataclass
class Build:
    """One run: its plan, what it works with, and the stages that it went through."""

    plan: Plan
    store: Store
    engine: DockerEngine
    progress: Progress
    until: str
    stages: list[StageRecord] = field(default_factory=list)

    def reaches(self, stage: str) -> bool:
        """Whether the user wants this stage."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    def taken(self, stage: str, key: str, since: float) -> None:
        """Records a stage whose result stood already."""
        self.progress.skipped(stage, "unchanged")
        self.stages.append(StageRecord(stage, round(time.monotonic() - since, 3), True, key))

    @contextmanager
    def working(self, stage: str, key: str) -> Iterator[None]:
        """Around the work of a stage whose result is new."""
        started = time.monotonic()
        with self.progress.stage(stage):
            yield
        self.stages.append(StageRecord(stage, round(time.monotonic() - started, 3), False, key))

    def keyed(self, stage: str, key: str, make: Callable[[Path], None]) -> Path:
        """The stored result of a stage, made if it is not there."""
        started = time.monotonic()
        found = self.store.get(stage, key)
        if found:
            self.taken(stage, key, started)
            return found
        with self.working(stage, key), self.store.making(stage, key) as folder:
            make(folder)
        return self.store.path(stage, key)


def build(run: Build) -> Built:
    """The whole chain; writes ``dist/<name>/<target>/`` at its end, and gives what the report says.

    Raises:
        OnnxpackError: the first stage that failed; nothing of this run is left then.
    """
    built, exported = export(run)
    with replacing(run.plan.output) as folder:
        for file in model_files(built.model.path):
            shutil.copyfile(file, folder / file.name)
        if run.reaches("verify"):
            built = replace(built, parity=verify(run, built.model, exported))
        if run.reaches("bundle"):
            context = bundle(run, built.model, folder / "context")
            built = replace(built, version=context.version)
            if run.reaches("image"):
                built = deliver(run, built, context, exported)
        built = replace(built, stages=tuple(run.stages))
        (folder / "report.json").write_text(to_json(built))
    return built


@dataclass(frozen=True)
class Exported:
    """The export stage's key, and the Reference that all later stages are judged against."""

    key: str
    reference: Reference


def export(run: Build) -> tuple[Built, Exported]:
    """Source model → ONNX file and Reference, in a child process."""
    started = time.monotonic()
    file = run.plan.file
    key = remembered(run.store, file)
    found = run.store.get("export", key) if key else None
    if key and found:
        run.taken("export", key, started)
        return _read_export(run, key, found)
    file, python = _at_hand(run)
    began = time.time_ns()
    with run.progress.stage("export"), run.store.scratch() as scratch:
        out = scratch / "out"
        out.mkdir()
        request = {"spec": file.to_json(), "destination": str(out)}
        facts = call("onnxpack.export:export_model", request, scratch, python)
        key = remember(run.store, file, facts["files"], facts["distributions"], began)
        with run.store.making("export", key) as folder:
            (folder / "facts.json").write_text(json.dumps(facts))
            for path in out.iterdir():
                path.rename(folder / path.name)
    run.stages.append(StageRecord("export", round(time.monotonic() - started, 3), False, key))
    return _read_export(run, key, run.store.path("export", key))


def _at_hand(run: Build) -> tuple[SpecFile, Path | None]:
    """The spec with all its files here, and the Python that its model needs."""
    file = brought_here(run.plan.file, run.store, run.progress)
    return file, environment(file.spec.model, run.store, run.progress)


def verify(run: Build, model: OnnxModel, exported: Exported) -> Parity:
    """The gate: the ONNX model against the source model's answers, in a child process."""
    tolerance = vars(run.plan.tolerance)
    reference = exported.reference
    request = {
        "model": str(model.path),
        "reference": str(reference.folder),
        "cases": list(reference.cases),
        **tolerance,
    }

    def compare(folder: Path) -> None:
        with run.store.scratch() as scratch:
            rows = [Comparison(**row) for row in call("onnxpack.verify:verify_model", request, scratch)]
        if any(row.reason for row in rows):
            require("the exported model differs from its source", rows, _place(run, model, exported, rows))
        require("the exported model differs from its source", rows)
        (folder / "rows.json").write_text(json.dumps([asdict(row) for row in rows]))

    for note in reference.notes:
        run.progress.note(note)
    key = digest("verify", tool_digest(), exported.key, model.sha256, tolerance)
    stored = run.keyed("verify", key, compare)
    return parity_of([Comparison(**row) for row in json.loads((stored / "rows.json").read_text())], reference.notes)


def _place(run: Build, model: OnnxModel, exported: Exported, rows: list[Comparison]) -> str:
    """Where the difference comes from, as far as it can be found in bounded time; never an error of its own."""
    reference = exported.reference
    run.progress.note("looking for where it differs")
    try:
        file, python = _at_hand(run)
        request = {
            "spec": file.to_json(),
            "model": str(model.path),
            "reference": str(reference.folder),
            "sizes": dict(zip(reference.cases, reference.sizes, strict=True)),
            "reasons": {row.case: row.reason for row in reversed(rows) if row.reason},
            **vars(run.plan.tolerance),
        }
        with run.store.scratch() as scratch:
            words: str = call("onnxpack.locate:locate", request, scratch, python, LOCATE_SECONDS)
    except OnnxpackError as error:
        return f"where it differs was not found: {error.problems[0].message}"
    return words


def bundle(run: Build, model: OnnxModel, folder: Path) -> Context:
    """Model, locked packages and rendered modules → a build context in ``folder``."""
    plan = run.plan
    locked = _locked(run)
    left_out = plan.device.left_out(frozenset(model.ops))
    lines = [package.requirement() for package in locked.packages if package.name not in left_out]
    key = digest("bundle", tool_digest(), locked.python, locked.platform, lines)
    packages = run.keyed("bundle", key, lambda destination: install(locked, left_out, destination))
    folder.mkdir()
    return assemble(folder, model, packages, plan.module_view(model), plan.docker_view(model), plan.file.spec.version)


def deliver(run: Build, built: Built, context: Context, exported: Exported) -> Built:
    """Context → a tagged image that passed its smoke test. An image that fails it keeps no name."""
    references = run.plan.tags(context.version, context.content_key)
    temporary = f"onnxpack-build:{secrets.token_hex(8)}"
    with afterwards(lambda: run.engine.untag(temporary)):
        image = make_image(run, context, references[-1], temporary)
        smoke = check_image(run, context, image, exported) if run.reaches("smoke") else None
        for name in references:
            run.engine.tag(image.id, name)
    return replace(built, image=image, references=references, smoke=smoke)


def make_image(run: Build, context: Context, content_tag: str, temporary: str) -> Image:
    """The image of a context: the one that the engine has, if it is of this content on this base, else a new one."""
    started = time.monotonic()
    base = [layer.digest for layer in run.engine.require_base(run.plan.base, run.progress).layers]
    key = digest("image", context.content_key, context.version, base)
    found = None if run.store.fresh else run.engine.find(content_tag)
    if found and _is_of(found, context, base):
        run.taken("image", key, started)
        return found
    with run.working("image", key):
        return run.engine.build(context.folder, temporary, run.progress, fresh=run.store.fresh)


def check_image(run: Build, context: Context, image: Image, exported: Exported) -> Smoke:
    """The smoke test, once for an image and a Reference."""
    plan = run.plan

    def test(folder: Path) -> None:
        result = smoke_test(
            run.engine,
            image,
            exported.reference,
            plan.tolerance,
            device=plan.device.name,
            port=plan.port,
            libraries=provider_libraries(context.folder, plan.device.name),
        )
        (folder / "smoke.json").write_text(json.dumps(vars(result)))

    key = digest("smoke", tool_digest(), image.id, exported.key, vars(plan.tolerance))
    return Smoke(**json.loads((run.keyed("smoke", key, test) / "smoke.json").read_text()))


def _is_of(image: Image, context: Context, base: list[str]) -> bool:
    """Whether an image holds this content, under this version, on this base."""
    labels = (image.labels.get(CONTENT_LABEL), image.labels.get(VERSION_LABEL))
    layers = [layer.digest for layer in image.layers]
    return labels == (context.content_key, context.version) and layers[: len(base)] == base


def _read_export(run: Build, key: str, folder: Path) -> tuple[Built, Exported]:
    facts = json.loads((folder / "facts.json").read_text())
    model = model_from(facts["model"], folder / MODEL)
    reference = Reference(folder / REFERENCE, tuple(facts["cases"]), tuple(facts["sizes"]), tuple(facts["notes"]))
    return Built(run.plan, (), model), Exported(key, reference)


def _locked(run: Build) -> locks.TargetLock:
    """The target's pinned packages; a spec without a lock gets one.

    Raises:
        SpecError: the lock does not answer what the spec asks.
    """
    plan = run.plan
    path = locks.lock_path(plan.file.path)
    if not path.exists():
        run.progress.note(f"no {path.name} yet: resolving the image's Python packages")
        locks.write(path, {name: locks.resolve(plan.file.spec, name) for name in plan.file.spec.targets})
    targets = locks.read(path)
    if plan.target in locks.stale(plan.file.spec, targets):
        problem = Problem(
            f"the lock does not answer what target '{plan.target}' asks", f"onnxpack lock {plan.file.path}",
            Location(str(path)),
        )  # fmt: skip
        raise SpecError(problem)
    return targets[plan.target]
