"""A verified model → its build context, its image, and the image's last test."""

import json
import secrets
import time
from dataclasses import replace
from pathlib import Path

from onnxpack.bundle import lock as locks
from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL, Context, assemble
from onnxpack.bundle.packages import install, provider_libraries
from onnxpack.engines.docker import Image
from onnxpack.engines.interrupts import afterwards
from onnxpack.errors import Location, Problem, SpecError
from onnxpack.gates import gather_facts, not_judged, require_measures, require_size
from onnxpack.report import Built
from onnxpack.smoke import Smoke, smoke_test
from onnxpack.stages.run import Build, Exported
from onnxpack.store import digest, tool_digest
from onnxpack.values import OnnxModel


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
        require_size(run.plan.gates, image.size_bytes)
        smoke = check_image(run, context, image, built.model.precision, exported) if run.reaches("smoke") else None
        if smoke:
            require_measures(run.plan.gates, smoke)
            for missed in not_judged(run.plan.gates.limits, gather_facts(replace(built, image=image, smoke=smoke))):
                run.progress.note(f"gates.{missed.gate} is not judged: {missed.why}")
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


def check_image(run: Build, context: Context, image: Image, precision: str, exported: Exported) -> Smoke:
    """The smoke test, once for an image and a Reference."""
    plan, tolerance = run.plan, run.plan.tolerance(precision)

    def test(folder: Path) -> None:
        result = smoke_test(
            run.engine,
            image,
            exported.served,
            tolerance,
            device=plan.device.name,
            port=plan.port,
            timed=exported.served.opt_case(plan.axes),
            libraries=provider_libraries(context.folder, plan.device.name),
        )
        (folder / "smoke.json").write_text(json.dumps(vars(result)))

    key = digest("smoke", tool_digest(), image.id, exported.key, vars(tolerance))
    return Smoke(**json.loads((run.keyed("smoke", key, test) / "smoke.json").read_text()))


def _is_of(image: Image, context: Context, base: list[str]) -> bool:
    """Whether an image holds this content, under this version, on this base."""
    labels = (image.labels.get(CONTENT_LABEL), image.labels.get(VERSION_LABEL))
    layers = [layer.digest for layer in image.layers]
    return labels == (context.content_key, context.version) and layers[: len(base)] == base


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
