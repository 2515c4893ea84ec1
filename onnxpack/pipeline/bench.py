"""Chooses who takes part in a benchmark and at which sizes, and runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.bundle.context import model_files
from onnxpack.core.digests import digest_file
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.values import MODEL
from onnxpack.data.case_budget import count_input_bytes
from onnxpack.inspection.child import describe_onnx, onnx_facts
from onnxpack.pipeline.chain import chain, walk
from onnxpack.pipeline.export import prepare_source
from onnxpack.pipeline.report import read_output_report
from onnxpack.pipeline.run import Build, Product
from onnxpack.spec.load import SpecFile
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.part import SpecPart
from onnxpack.spec.served import make_served_spec
from onnxpack.targets import load_device
from onnxpack.timing.bench import Bench, Entry, describe_machine, make_results, measure_source_bytes, warn_if_busy
from onnxpack.timing.contest import Contender, HoldContest
from onnxpack.worker.call import Setting, call

_FIELDS = ("model", "outputs", "dynamic_axes", "opset", "verify", "preprocess", "postprocess")
LARGEST_INPUTS = 2**28
"""Bytes of inputs beyond which a size is timed only where it is asked for."""


@dataclass(frozen=True)
class Wish:
    """The sizes, seconds and threads that the command line asks for."""

    batches: tuple[int, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 10.0
    threads: int | None = None


@dataclass(frozen=True)
class Sizes:
    """The sizes of every axis that are timed, the index of the usual ones, and notes on what was left out."""

    batch_axis: str | None
    all: tuple[dict[str, int], ...]
    usual: int
    notes: tuple[str, ...] = ()


def bench_model(path: Path, wish: Wish, run_in: Path, *, sandbox: bool = False) -> Bench:
    """Time an ONNX file alone, on inputs of its own declared shapes; ``run_in`` is an empty folder.

    In a ``sandbox`` the file is read and run as ``worker.sandbox`` says.

    Raises:
        SpecError: an asked size does not fit.
        SourceError: the file is no model, or does not run.
    """
    file, facts = describe_onnx(path, sandbox=sandbox), onnx_facts(path, sandbox=sandbox)
    beside = sum(part["size_bytes"] or 0 for part in facts["external_data"])
    entry = Entry("model", path.name, path.resolve(), facts["size_bytes"] + beside)
    sizes, quiet = choose_sizes(file, wish, free=True), warn_if_busy()
    machine = describe_machine(wish.threads)
    task = _task(file, [entry], sizes, wish.seconds, machine.threads)
    found = call(task, Setting(run_in, sandbox=sandbox)).result.contenders
    return Bench(
        path.name,
        machine,
        sizes.batch_axis,
        sizes.usual,
        make_results([entry], sizes.all, sizes.batch_axis, found),
        (*sizes.notes, *quiet),
    )


def bench_spec(run: Build, targets: Sequence[str], output: Path, wish: Wish) -> Bench:
    """Time a spec's source model, its float32 export, and its built targets in ``output``; no ``targets`` means all.

    Raises:
        SpecError: a target that was asked for is not built, or a size does not fit.
        OnnxpackError: the source or the export fails, or a model does not run.
    """
    file = run.plan.file
    unknown = [name for name in targets if name not in file.spec.targets]
    if unknown:
        raise SpecError(f"{file.path} has no target '{unknown[0]}'", suggest_closest(unknown[0], file.spec.targets))
    sizes, quiet = choose_sizes(file, wish), warn_if_busy()
    product = walk(run, chain(run.plan, "verify"), Product())
    model, exported = product.model, product.exported
    assert model
    assert exported
    entries = [Entry("float32", "float32 export", model.path, model.size_bytes)]
    shipped, notes = _list_shipped(file, targets, output, model.sha256)
    entries += shipped
    here, python = prepare_source(run)
    machine = describe_machine(wish.threads or run.plan.threads)
    names = tuple(tensor.name for tensor in exported.model.outputs)
    source = None
    if file.spec.model.framework != "onnx":  # an ONNX source and its export are the same
        source = Entry("source", f"{file.spec.model.framework} (source)", size_bytes=measure_source_bytes(here))
    share = wish.seconds / (len(entries) + 1) if python and source else 0.0
    found: dict[str, Contender] = {}
    with run.progress.stage("bench"), run.store.scratch() as scratch:
        if source and python:
            notes.append("the source model was timed apart, in an environment of its own")
            task = _task(here, [source], sizes, share, machine.threads, names)
            found |= call(task, Setting(scratch, python=python, sandbox=run.plan.sandbox)).result.contenders
        together = [source, *entries] if source and not python else entries
        task = _task(here, together, sizes, wish.seconds - share, machine.threads, names)
        found |= call(task, Setting(scratch, sandbox=run.plan.sandbox)).result.contenders
    all_entries = [source, *entries] if source else entries
    results = make_results(all_entries, sizes.all, sizes.batch_axis, found)
    return Bench(file.spec.name, machine, sizes.batch_axis, sizes.usual, results, (*sizes.notes, *notes, *quiet))


def choose_sizes(file: SpecFile, wish: Wish, *, free: bool = False) -> Sizes:
    """Return the smallest, the usual and the largest batch, or those asked for; other axes have their usual size.

    ``free`` lets sizes go beyond the axes' limits, where these are only a guess.

    Raises:
        SpecError: an axis or a size is not the model's.
    """
    spec = make_served_spec(file.spec)
    axes = {axis.name: axis for axis in spec.axes}
    batch = spec.first_size if isinstance(spec.first_size, str) else None
    asked = dict(wish.sizes)
    problems = []
    if wish.batches and batch is None:
        problems.append(
            Problem("--batch: no dynamic axis is the first of every input", "give the size of an axis with --size")
        )
    wanted = [*asked.items(), *((batch, size) for size in wish.batches if batch)]
    for name, size in wanted:
        if name not in axes:
            problems.append(Problem(f"--size: the model has no dynamic axis '{name}'", suggest_closest(name, axes)))
        elif not free and not axes[name].min <= size <= axes[name].max:
            problems.append(
                Problem(
                    f"{size} is outside the sizes of '{name}', {axes[name].min} to {axes[name].max}",
                    "change --size or --batch, or `dynamic_axes` in the spec",
                )
            )
    if problems:
        raise SpecError(problems)
    usual = {name: axis.opt for name, axis in axes.items()} | asked
    if batch is None:
        return Sizes(None, (usual,), 0)
    limits = axes[batch]
    counts = wish.batches or ((usual[batch],) if batch in asked else (max(limits.min, 1), limits.opt, limits.max))
    every = [usual | {batch: count} for count in sorted(set(counts))]
    kept = [at for at in every if wish.batches or at == usual or count_input_bytes(spec, at) <= LARGEST_INPUTS]
    left = [at[batch] for at in every if at not in kept]
    notes = tuple(f"{batch} {size} is not timed: its inputs are large; ask for it by --batch" for size in left)
    return Sizes(batch, tuple(kept), kept.index(usual) if usual in kept else 0, notes)


def _list_shipped(file: SpecFile, targets: Sequence[str], output: Path, plain: str) -> tuple[list[Entry], list[str]]:
    """Return the targets' models that are built, and notes on the targets that are not timed."""
    entries, notes = [], []
    for name in targets or file.spec.targets:
        path = output / file.spec.name / name / MODEL
        if not path.exists():
            if targets:
                raise SpecError(
                    Problem(f"target '{name}' is not built", "run `onnxpack build` first", Location(str(path)))
                )
            notes.append(f"target {name} is not built")
        elif load_device(file.spec.targets[name].device).gpu:
            notes.append(f"target {name} is for {file.spec.targets[name].device}: it is not timed on a CPU")
        elif digest_file(path) == plain:
            notes.append(f"target {name} ships the float32 export")
        else:
            size = sum(part.stat().st_size for part in model_files(path))
            entries.append(Entry("target", f"{name} ({_read_precision(path)})", path.resolve(), size))
    return entries, notes


def _read_precision(model: Path) -> str:
    """Return the precision that the build's report names."""
    try:
        return str(read_output_report(model.parent)["model"]["precision"])
    except (LookupError, TypeError):
        return "built"


def _task(
    file: SpecFile, entries: Sequence[Entry], sizes: Sizes, seconds: float, threads: int, names: tuple[str, ...] = ()
) -> HoldContest:
    return HoldContest(
        SpecPart.of(file, *_FIELDS),
        next((entry.label for entry in entries if entry.kind == "source"), None),
        names,
        {entry.label: entry.path for entry in entries if entry.path},
        sizes.all,
        seconds,
        threads,
    )
