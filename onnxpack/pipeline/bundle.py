"""The stage ``bundle``: model, locked packages and rendered modules → a build context."""

from dataclasses import replace

from onnxpack.bundle import lock as locks
from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.context import Parts, assemble
from onnxpack.bundle.openblas import find_replacement
from onnxpack.bundle.reference import REFERENCE_FILE, pack_reference
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.verify import compare
from onnxpack.tasks.packages import InstallPackages


def bundle(run: Build, product: Product) -> Product:
    """Put the build context together in ``product.folder``.

    Raises:
        SpecError: the lock does not fit the spec.
        EngineError: a wheel cannot be downloaded, has another hash than the lock, or this
            installation is damaged.
    """
    assert product.exported
    assert product.model
    assert product.folder
    plan, model = run.plan, product.model
    locked = _read_lock(run)
    left_out = plan.device.find_unneeded(frozenset(model.ops))
    packages = tuple(package for package in locked.packages if package.name not in left_out)
    task = InstallPackages(locked.python, locked.platform, packages, find_replacement(locked.platform))
    # Another spec of the same device may have made it: the model in the bundle can be new all the same.
    installed = run.runner.run(task, reused="runtime layer reused").files
    folder = product.folder / "context"
    folder.mkdir()
    served = product.exported.served
    # The comparisons by which this model was judged, which are in the store. Not in the image: the last digits of the
    # source's answers are those of the CPU here, and an image must not depend on the machine that built it.
    if reference := pack_reference(served, compare(run, model, served, model.precision)):
        (product.folder / REFERENCE_FILE).write_bytes(reference)
    module, docker, version = plan.module_view(model), plan.docker_view(model), plan.file.spec.version
    parts = Parts(model, installed, module, docker, version)
    return replace(product, context=assemble(folder, parts, earlier=plan.output / folder.name))


def _read_lock(run: Build) -> locks.TargetLock:
    """Return the target's pinned packages; a spec without a lock gets one."""
    plan = run.plan
    path = locks.lock_path(plan.file.path)
    if not path.exists():
        run.progress.note(f"no {path.name} yet: resolving the image's Python packages")
        locks.write(path, {name: locks.resolve(plan.file.spec, name) for name in plan.file.spec.targets})
    targets = locks.read(path)
    if reason := find_stale(plan.file.spec, targets).get(plan.target):
        message = f"the lock does not fit target '{plan.target}': {reason}"
        raise SpecError(Problem(message, f"run `onnxpack lock {plan.file.path}`", Location(str(path))))
    return targets[plan.target]
