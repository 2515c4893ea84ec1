"""The stage ``bundle``: model, locked packages and rendered modules → a build context."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from onnxpack.bundle import lock as locks
from onnxpack.bundle.added import find_whole, keep_added
from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.context import Parts, assemble
from onnxpack.bundle.distributions import explain_packages
from onnxpack.bundle.layer import FILES_FILE, Needs, write_files
from onnxpack.bundle.openblas import find_replacement
from onnxpack.bundle.reference import REFERENCE_FILE, pack_reference
from onnxpack.bundle.render import list_template_roots, render_step_modules
from onnxpack.cache.trace import digest_content
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.core.values import OnnxModel
from onnxpack.intake.figures import IntakeFigures
from onnxpack.pipeline.lock import make_first_lock
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.runner import Apart
from onnxpack.pipeline.verify import compare
from onnxpack.spec.part import SpecPart
from onnxpack.targets import Distribution
from onnxpack.tasks.intakes import CheckIntakes
from onnxpack.tasks.packages import Installed, InstallPackages
from onnxpack.vendor.bundle import fill_wheels


@dataclass(frozen=True)
class Ingredients:
    """What a build context is made of, and the reasons for what is and what is not in it."""

    parts: Parts
    installed: Installed
    distributions: tuple[Distribution, ...]


def bundle(run: Build, product: Product) -> Product:
    """Put the build context together in ``product.folder``; raise as ``gather_ingredients`` does."""
    assert product.exported
    assert product.model
    assert product.folder
    plan, model = run.plan, product.model
    found = gather_ingredients(run, model)
    write_files(product.folder / FILES_FILE, found.installed.listing)
    folder = product.folder / "context"
    folder.mkdir()
    served = product.exported.served
    # The comparisons by which this model was judged, which are in the store. Not in the image: the last digits of the
    # source's answers are those of the CPU here, and an image must not depend on the machine that built it.
    if reference := pack_reference(served, compare(run, model, served, model.precision)):
        (product.folder / REFERENCE_FILE).write_bytes(reference)
    context = assemble(folder, found.parts, earlier=plan.output / folder.name)
    intakes = check_intakes(run, found.parts)
    return replace(product, context=context, distributions=found.distributions, intakes=intakes)


def gather_ingredients(run: Build, model: OnnxModel) -> Ingredients:
    """Return what the context of a model is made of.

    Raises:
        SpecError: the lock does not fit the spec, or its packages do not fit each other.
        EngineError: a wheel cannot be downloaded, has another hash than the lock, or this installation is damaged.
    """
    plan = run.plan
    locked = _read_lock(run)
    with _blame_lock(plan):
        versions = plan.device.read_versions(locked.packages)
    whole = find_whole(plan.file.spec, locked.packages)
    distributions = keep_added(explain_packages(locked, plan.device, frozenset(model.ops)), whole)
    module = plan.module_view(model)
    installed = _install(run, locked, distributions, render_step_modules(module))
    version = plan.file.spec.version
    # An archive that whoever builds names takes the place of what the lock pins.
    docker = plan.docker_view(model, versions, None if run.base else locked.base)
    parts = Parts(model, installed.files, module, docker, version, plan.list_tokenizers())
    return Ingredients(parts, installed, distributions)


def check_intakes(run: Build, parts: Parts) -> IntakeFigures | None:
    """Compare what the module makes of pictures and texts with what training makes of them; None where it makes none.

    Raises:
        GateError: it makes other pixels or tokens.
        SourceError: a library of training is not installed.
    """
    if not parts.module.intakes:
        return None
    spec = SpecPart.of(run.plan.file, "preprocess", "dynamic_axes")
    return run.runner.run(CheckIntakes(spec, render_step_modules(parts.module), dict(parts.data)))


def _install(
    run: Build, locked: locks.TargetLock, distributions: Iterable[Distribution], steps: Mapping[str, str]
) -> Installed:
    """Return the runtime layer of those distributions that the model, or who uses the image, needs.

    ``steps`` are the texts of the image's modules that do steps of the spec, by file name.

    Raises:
        SpecError: they lack a library that onnxruntime's provider for a GPU links.
        EngineError: a wheel cannot be downloaded, or has another hash than the lock.
    """
    plan, kept = run.plan, {one.name for one in distributions if one.kept}
    packages = tuple(package for package in locked.packages if package.name in kept)
    whole = find_whole(plan.file.spec, locked.packages)
    needs = Needs(list_template_roots(steps), tuple(sorted(whole.items())))
    # What a user adds may multiply by OpenBLAS.
    blas = None if whole else find_replacement(locked.platform)
    task = InstallPackages(locked.python, locked.platform, packages, needs, blas)
    with make_temporary_folder() as wheels:
        apart = Apart("", partial(_supply_wheels, run.vendor, task, wheels)) if run.vendor else None
        # Another spec of the same device may have made it: the model in the bundle can be new all the same.
        installed = run.runner.run(task, apart, reused="runtime layer reused")
    if plan.device.gpu:
        from onnxpack.bundle.provider import require_linked_libraries  # it reads ELF files: a slow import

        with _blame_lock(plan):
            require_linked_libraries(installed.files.path, plan.device.name)
    return installed


def _supply_wheels(vendor: Path, task: InstallPackages, folder: Path) -> tuple[InstallPackages, None]:
    """Return the task with its wheels in ``folder``, out of a bundle; it runs in this process's own environment."""
    fill_wheels(vendor, task.packages, folder)
    return replace(task, wheels=folder), None


@contextmanager
def _blame_lock(plan: Plan) -> Iterator[None]:
    """Name the target's lock as the place of what is wrong with its packages."""
    try:
        yield
    except SpecError as error:
        raise error.at(Location(str(locks.lock_path(plan.file.path)))) from None


def _read_lock(run: Build) -> locks.TargetLock:
    """Return the target's pinned packages; a spec without a lock gets one."""
    plan = run.plan
    path = locks.lock_path(plan.file.path)
    if not path.exists() and run.vendor:
        raise SpecError(Problem("there is no lock", f"run `onnxpack lock {plan.file.path}`", Location(str(path))))
    if not path.exists():
        run.progress.note(f"no {path.name} yet: resolving the image's Python packages")
        made = make_first_lock(plan.file)
        locks.write(path, made.targets, made.pins)
    # Noted twice, so that a lock that changes meanwhile is seen.
    run.runner.read.note_file(path, digest_content(path))
    targets = locks.read(path)
    run.runner.read.note_file(path, digest_content(path))
    if reason := find_stale(plan.file.spec, targets).get(plan.target):
        message = f"the lock does not fit target '{plan.target}': {reason}"
        raise SpecError(Problem(message, f"run `onnxpack lock {plan.file.path}`", Location(str(path))))
    return targets[plan.target]
