"""Build and verify specs from Python: what ``onnxpack`` itself exports."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.progress import Progress, SilentProgress
from onnxpack.image import load_engine
from onnxpack.parity.summary import Parity
from onnxpack.pipeline import attempt as attempts
from onnxpack.pipeline.chain import chain, walk
from onnxpack.pipeline.plan import Plan, output_folder
from onnxpack.pipeline.report import Attempt
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.stores import open_store
from onnxpack.spec import load as specs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.trust import trust_code


def load(path: str | PathLike[str], settings: Iterable[str] = (), *, trust: bool = False) -> SpecFile:
    """Read and check the spec at ``path``; no code of it runs.

    ``settings`` are ``path.to.field=value``, as ``--set`` takes them. ``trust`` allows code that is neither the
    project's, the framework's, nor in ``model.requirements``.

    Raises:
        SpecError: the spec is not valid; its ``problems`` say where and why, all at once.
        OSError: the file cannot be read.
    """
    return trust_code(specs.load(Path(path), tuple(settings)), trusted=trust)


def plan(
    spec: SpecFile, target: str | None = None, *, output: str | PathLike[str] = "dist", sandbox: bool = False
) -> Plan:
    """Say what a build of one target will be, without doing anything.

    ``target`` may be left out where the spec has one alone. Outputs go to ``<output>/<name>/<target>/``. ``sandbox``
    confines the code of the model.

    Raises:
        SpecError: the spec has no such target, or has several and none is named.
    """
    known = spec.spec.targets
    if target is None and len(known) == 1:
        target = next(iter(known))
    if target is None or target not in known:
        text = f"there is no target '{target}'" if target else "the spec has several targets"
        hint = suggest_closest(target, known) if target else f"name one of them: {', '.join(known)}"
        raise SpecError(Problem(text, hint, spec.where("targets")))
    return Plan(spec, target, output_folder(Path(output).absolute(), spec, target), sandbox)


def build(plan: Plan, *, until: str = "smoke", store: Store | None = None, progress: Progress | None = None) -> Attempt:
    """Walk the chain of a plan up to the stage ``until``, and put what it made in its place.

    The attempt that is returned has passed; ``attempt.product`` holds the model, its parity and the image, and
    ``report.json`` in ``attempt.plan.output`` says the same. With ``until="bundle"`` no engine is needed. ``store`` is
    the user's, unless another is given; ``progress`` is told what happens.

    Raises:
        OnnxpackError: the build failed: ParityError or another GateError over numbers, SourceError over the model,
            EngineError over the engine, network or disk. Its report is in the output's folder.
        SpecError: the place of the output holds something else.
        ValueError: there is no such stage.
    """
    moved = replace(plan, output=output_folder(plan.output.parents[1], plan.file, plan.target, until))
    with _prepare_run(moved, store, progress) as run:
        attempt = attempts.build(run, attempts.Wanted(until))
    if attempt.error:
        raise attempt.error
    return attempt


def verify(plan: Plan, *, store: Store | None = None, progress: Progress | None = None) -> Parity:
    """Export the model of a plan and compare it with its source, steps included; nothing is written but the store.

    Raises:
        ParityError: they differ; its ``rows`` hold every comparison.
        OnnxpackError: the model cannot be loaded or exported.
    """
    with _prepare_run(plan, store, progress) as run:
        parity = walk(run, chain(plan, "verify"), Product()).parity
    assert parity
    return parity


@contextlib.contextmanager
def _prepare_run(plan: Plan, store: Store | None, progress: Progress | None) -> Iterator[Build]:
    told = progress or SilentProgress()
    used = store or open_store(tell=told.note)
    try:
        yield Build(plan, used, load_engine(), told)
    finally:
        used.finish()
