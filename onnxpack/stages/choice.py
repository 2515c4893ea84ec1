"""The target's precision: made, judged, measured; of several, the best one that passed."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from onnxpack.errors import BY_EXIT_CODE, GateError, OnnxpackError, Problem
from onnxpack.gates import degraded, too_low, unhelpful
from onnxpack.measure import Measured
from onnxpack.precision import Samples, Wish
from onnxpack.precision.candidates import Candidate, counted, judged, table, worth_trying
from onnxpack.report import Built, Evaluated, Parity, parity_of
from onnxpack.spec.delivery import Target
from onnxpack.stages.changes import changed
from onnxpack.stages.judging import calibrated, comparisons, evaluated, sensitivity, speeds
from onnxpack.stages.run import Build, Exported
from onnxpack.values import OnnxModel
from onnxpack.verify import ParityError, require


@dataclass(frozen=True)
class Trial:
    """One precision that was tried: what was found out, and what it made if it made something."""

    candidate: Candidate
    model: OnnxModel | None = None
    parity: Parity | None = None
    evaluated: Evaluated | None = None
    error: OnnxpackError | None = None
    """Why it was passed over, as the build says it where nothing else was asked for."""


def reduce(run: Build, built: Built, exported: Exported) -> Built:
    """The model in the precision that the target asks for, or in the best one.

    Raises:
        OnnxpackError: the precision cannot be had, changed nothing, did not help, or lost too much; with the table.
    """
    wanted = run.plan.precision
    base = judge(run, Candidate("float32"), built.model, exported)
    if base.error:
        raise base.error
    if wanted == "float32":
        return replace(built, evaluation=base.evaluated)
    trials = measured(run, [base, *attempts(run, built.model, exported)], exported)
    objective = _target(run).objective or ("latency" if run.plan.device.name == "cpu" else "size")
    candidates = judged([trial.candidate for trial in trials], objective)
    if wanted != "auto":
        candidates = tuple(replace(row, chosen=row.precision == wanted and row.passed) for row in candidates)
        _require(trials[1], candidates)
    chosen = next(index for index, candidate in enumerate(candidates) if candidate.chosen)
    trial = trials[chosen]
    assert trial.model
    return replace(built, model=trial.model, parity=trial.parity, candidates=candidates, evaluation=trial.evaluated)


def attempts(run: Build, model: OnnxModel, exported: Exported) -> Iterator[Trial]:
    """What the spec asks for, or each precision that may help, until the time is over."""
    wanted, target = run.plan.precision, _target(run)
    if wanted != "auto":
        yield attempt(run, wanted, model, exported)
        return
    end = time.monotonic() + run.budget
    for precision in worth_trying(target.device, run.plan.file.spec.calibration is not None):
        if time.monotonic() > end:
            yield Trial(Candidate(precision, f"not tried: {run.budget:g} s had passed"))
        else:
            yield attempt(run, precision, model, exported)


def attempt(run: Build, precision: str, model: OnnxModel, exported: Exported) -> Trial:
    """One precision; int8-static without its worst layers, fewest first, where all of them lose too much."""
    wish, samples = _wish(run, precision), _samples(run, exported)
    try:
        if precision != "int8-static":
            return _made(run, wish, samples, model, exported)
        calibration = calibrated(run, model, wish, samples, exported.key)
        trial = _made(run, wish, samples, model, exported, calibration)
        if trial.candidate.passed:
            return trial
        ranked = sensitivity(run, model, wish, samples, calibration, exported.key)
        count = 1
        while count < len(ranked):
            mixed = _made(run, replace(wish, without=ranked[:count]), samples, model, exported, calibration)
            if mixed.candidate.passed:
                return mixed
            count *= 2
    except OnnxpackError as error:
        return Trial(Candidate(precision, error.problems[0].message), error=error)
    return trial


def _made(
    run: Build, wish: Wish, samples: Samples, model: OnnxModel, exported: Exported, calibration: Path | None = None
) -> Trial:
    request = {
        "wish": asdict(wish),
        "samples": asdict(samples),
        "calibration": str(calibration) if calibration else None,
    }
    reads = [asdict(wish), exported.key]
    of = f"{wish.precision} without {counted(len(wish.without), 'layer')}" if wish.without else wish.precision
    made, told = changed(run, "precision", model, "onnxpack.precision.reduce:reduce_model", request, reads, of)
    before, after = told["before"]["ops"], told["after"]["ops"]
    counts = {op: (before.get(op, 0), after.get(op, 0)) for op in sorted({*before, *after})}
    candidate = Candidate(
        wish.precision,
        excluded=wish.without,
        ops={op: pair for op, pair in counts.items() if pair[0] != pair[1]},
        notes=tuple(told["notes"]),
    )
    return judge(run, candidate, made, exported)


def judge(run: Build, candidate: Candidate, model: OnnxModel, exported: Exported) -> Trial:
    """Its answers against the source's, and its score on the evaluation data."""
    rows = comparisons(run, model, exported.served, exported.key, run.plan.tolerance(candidate.precision))
    parity = parity_of(rows, exported.served.notes)
    candidate = replace(
        candidate,
        size_bytes=model.size_bytes,
        sqnr_db=parity.min_sqnr_db,
        cosine=parity.min_cosine,
        argmax_agreement=parity.argmax_agreement,
    )
    try:
        require(f"the {candidate.precision} model differs from its source", rows)
    except ParityError as error:
        return Trial(replace(candidate, reason=error.problems[0].message), model, parity, error=error)
    if run.plan.file.spec.evaluation is None:
        return Trial(candidate, model, parity)
    scored = evaluated(run, model, exported)
    candidate = replace(candidate, score=scored.model, degradation=scored.degradation)
    gates = run.plan.gates
    lost = degraded(gates, candidate.precision, scored) or too_low(gates, candidate.precision, scored)
    if lost:
        return Trial(replace(candidate, reason=lost.message), model, parity, scored, GateError(lost))
    return Trial(candidate, model, parity, scored)


def measured(run: Build, trials: list[Trial], exported: Exported) -> list[Trial]:
    """The trials with their speed and memory, all of one run, and those that did not help passed over."""
    able = {str(index): trial.model for index, trial in enumerate(trials) if trial.model and trial.candidate.passed}
    found: dict[str, Measured] = {}
    if run.plan.device.name != "cpu":
        judged_not = "" if run.plan.gates.limits.min_speedup is None else ", and gates.min_speedup is not judged"
        run.progress.note(f"no speed is measured: it would be the CPU's{judged_not}")
    elif len(able) > 1:
        found = speeds(run, able, exported.served)
    base, *reduced = (
        _with_figures(trial, found[str(index)]) if str(index) in found else trial for index, trial in enumerate(trials)
    )
    return [base, *(_helped(run, trial, base.candidate) for trial in reduced)]


def _with_figures(trial: Trial, found: Measured) -> Trial:
    figures = {name: value for name, value in asdict(found).items() if name != "runs"}
    return replace(trial, candidate=replace(trial.candidate, **figures))


def _helped(run: Build, trial: Trial, base: Candidate) -> Trial:
    useless = unhelpful(run.plan.gates, trial.candidate, base) if trial.candidate.passed else None
    if useless is None:
        return trial
    return replace(trial, candidate=replace(trial.candidate, reason=useless.message), error=GateError(useless))


def _require(trial: Trial, candidates: tuple[Candidate, ...]) -> None:
    if trial.error is None:
        return
    first, *more = trial.error.problems
    detail = "\n".join(filter(None, (first.detail, table(candidates))))
    raise BY_EXIT_CODE[trial.error.exit_code]([Problem(first.message, first.hint, first.where, detail), *more])


def _target(run: Build) -> Target:
    return run.plan.file.spec.targets[run.plan.target]


def _wish(run: Build, precision: str) -> Wish:
    target = _target(run)
    return Wish(
        precision,
        target.device,
        target.isa,
        target.per_channel,
        target.exclude_nodes,
        seed=run.plan.file.spec.verify.seed,
    )


def _samples(run: Build, exported: Exported) -> Samples:
    """What calibrates. Its bytes are in the export's key, which reads all data that the spec names."""
    file, reference = run.plan.file, exported.served
    calibration = file.spec.calibration
    if calibration is None:
        return Samples(str(reference.folder), reference.cases)
    return Samples(
        str(reference.folder),
        reference.cases,
        file.to_json(),
        calibration.data,
        calibration.samples,
        calibration.method,
    )
