"""Every precision that may ship, made to its last byte before it is judged; of those that passed, the best one ships.

A variant goes through all of the target's transforms first. So what is compared, scored, timed and reported is the file
that would ship, and not an earlier form of it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from onnxpack.core.errors import BY_EXIT_CODE, GateError, OnnxpackError, Problem, SpecError
from onnxpack.core.values import Exported, OnnxModel
from onnxpack.parity.compare import ParityError, require_parity
from onnxpack.parity.summary import Parity, summarize_parity
from onnxpack.pipeline.batching import measure_batching, require_separate_rows
from onnxpack.pipeline.evaluate import evaluate
from onnxpack.pipeline.gates import judge_degradation, judge_help, judge_score
from onnxpack.pipeline.measure import measure
from onnxpack.pipeline.precision import Conversion, calibrate, conversion, rank_layers, reduce_precision
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.verify import compare
from onnxpack.precision.candidates import Candidate, format_candidates, list_candidates, mark_best
from onnxpack.spec.traits import precisions
from onnxpack.timing import Measured

Transform = Callable[[Build, "Variant"], "Variant"]
"""One step from the verified float32 model to what ships."""


@dataclass(frozen=True)
class Variant:
    """One precision of the model: how it is made, what was measured, and the model as far as it is made."""

    exported: Exported
    candidate: Candidate
    model: OnnxModel
    conversion: Conversion | None = None
    """How it is reduced; None for float32."""
    parity: Parity | None = None
    evaluated: Evaluated | None = None
    error: OnnxpackError | None = None
    """The error that it was passed over for; the build raises it where no other precision was asked for."""


@dataclass(frozen=True)
class ChooseVariant:
    """The stage that makes, judges and measures the variants; ``transforms`` are the target's, in their order."""

    transforms: tuple[Transform, ...]

    def __call__(self, run: Build, product: Product) -> Product:
        """Return the product with the variant that ships.

        Raises:
            SpecError: the spec lets speeds choose, which cannot be measured here.
            OnnxpackError: the precision cannot be made, changes nothing, does not help, or loses too much; with the
                table of all that was tried.
        """
        assert product.exported
        assert product.model
        _require_measurable(run)
        plain = Variant(product.exported, Candidate("float32"), product.model)
        base = self._finish(run, plain)
        if base.error:
            raise base.error
        if run.plan.precision == "float32" or not self._reduces:
            return _ship(run, product, base, ())
        trials = _measure_all(run, [base, *self._attempts(run, plain)])
        objective = run.plan.spec_target.objective or ("size" if run.plan.device.gpu or run.plan.foreign else "latency")
        candidates = mark_best([trial.candidate for trial in trials], objective)
        if run.plan.precision != "auto":
            wanted = run.plan.precision
            candidates = tuple(replace(row, chosen=row.precision == wanted and row.passed) for row in candidates)
            _require_passed(trials[1], candidates)
        chosen = next(index for index, candidate in enumerate(candidates) if candidate.chosen)
        return _ship(run, product, trials[chosen], candidates)

    @property
    def _reduces(self) -> bool:
        return apply_precision in self.transforms

    def _finish(self, run: Build, variant: Variant) -> Variant:
        """Apply the transforms, then judge what came out."""
        for transform in self.transforms:
            variant = transform(run, variant)
        return _judge(run, variant)

    def _attempts(self, run: Build, plain: Variant) -> Iterator[Variant]:
        """Make what the spec asks for, or each precision that may help, until the time is over."""
        wanted, target = run.plan.precision, run.plan.spec_target
        if wanted != "auto":
            yield self._attempt(run, wanted, plain)
            return
        end = time.monotonic() + run.budget
        for precision in list_candidates(target.device, run.plan.file.spec.calibration is not None):
            if time.monotonic() > end:
                late = Candidate(precision, f"not tried: {run.budget:g} s had passed")
                run.runner.read.lasting = False  # the next build goes on from here
                yield replace(plain, candidate=late)
            else:
                yield self._attempt(run, precision, plain)

    def _attempt(self, run: Build, precision: str, plain: Variant) -> Variant:
        """Make one precision; int8-static without its worst layers, fewest first, where all of them lose too much."""
        asked = conversion(run, precision, plain.exported)
        try:
            before = self._before_precision(run, plain).model
            asked = calibrate(run, before, asked)
            first = self._finish(run, _plan_conversion(plain, asked))
            if first.candidate.passed or not precisions()[precision].calibrated:
                return first
            ranked = rank_layers(run, before, asked)
            count = 1
            while count < len(ranked):
                mixed = replace(asked, wish=replace(asked.wish, without=ranked[:count]))
                variant = self._finish(run, _plan_conversion(plain, mixed))
                if variant.candidate.passed:
                    return variant
                count *= 2  # each try is a whole conversion with its comparison: of 100 layers there are 7 tries
        except OnnxpackError as error:
            return replace(plain, candidate=Candidate(precision, error.problems[0].message), error=error)
        return first

    def _before_precision(self, run: Build, plain: Variant) -> Variant:
        """Return what the precision is made of: the model behind the transforms that come first."""
        for transform in self.transforms[: self.transforms.index(apply_precision)]:
            plain = transform(run, plain)
        return plain


def apply_precision(run: Build, variant: Variant) -> Variant:
    """Reduce the variant's precision; float32 stays as it is."""
    if variant.conversion is None:
        return variant
    made = reduce_precision(run, variant.model, variant.conversion)
    before, after = made.before.ops, made.after.ops
    counts = {op: (before.get(op, 0), after.get(op, 0)) for op in sorted({*before, *after})}
    candidate = replace(
        variant.candidate,
        excluded=variant.conversion.wish.without,
        ops={op: pair for op, pair in counts.items() if pair[0] != pair[1]},
        notes=made.notes,
    )
    return replace(variant, candidate=candidate, model=made.model)


def _plan_conversion(plain: Variant, asked: Conversion) -> Variant:
    return replace(plain, candidate=Candidate(asked.wish.precision), conversion=asked)


def _judge(run: Build, variant: Variant) -> Variant:
    """Compare the finished model's answers with the source's, and score it on the evaluation data."""
    candidate, model, served = variant.candidate, variant.model, variant.exported.served
    rows = compare(run, model, served, candidate.precision, candidate.precision)
    parity = summarize_parity(rows, served.notes, served.all_sizes)
    candidate = replace(
        candidate,
        model_digest=model.file.digest,
        size_bytes=model.size_bytes,
        sqnr_db=parity.min_sqnr_db,
        cosine=parity.min_cosine,
        argmax_agreement=parity.argmax_agreement,
    )
    variant = replace(variant, candidate=candidate, parity=parity)
    try:
        require_parity(f"the {candidate.precision} model differs from its source", rows)
    except ParityError as error:
        return _refuse(variant, error)
    try:
        require_separate_rows(run, model, served)
    except GateError as error:
        return _refuse(variant, error)
    if run.plan.file.spec.evaluation is None:
        return variant
    scored = evaluate(run, model, variant.exported)
    candidate = replace(candidate, score=scored.model, degradation=scored.degradation)
    variant = replace(variant, candidate=candidate, evaluated=scored)
    gates = run.plan.gates
    lost = judge_degradation(gates, candidate.precision, scored) or judge_score(gates, candidate.precision, scored)
    return _refuse(variant, GateError(lost)) if lost else variant


def _refuse(variant: Variant, error: OnnxpackError) -> Variant:
    candidate = replace(variant.candidate, reason=error.problems[0].message)
    return replace(variant, candidate=candidate, error=error)


def _require_measurable(run: Build) -> None:
    """Require that what precisions are to be chosen by can be measured here.

    Raises:
        SpecError: it is a speed, and the target is for another kind of machine.
    """
    plan = run.plan
    objective = plan.spec_target.objective
    if plan.foreign and objective in ("latency", "throughput"):
        text = f"{objective} on {plan.spec_target.platform} cannot be measured on this machine"
        hint = "set `objective: size`, or build on a machine of that kind"
        raise SpecError(Problem(text, hint, plan.file.where("targets", plan.target, "objective")))


def _measure_all(run: Build, variants: list[Variant]) -> list[Variant]:
    """Measure speed and memory of all that passed, in one run, and pass over those that do not help."""
    able = {str(index): variant.model for index, variant in enumerate(variants) if variant.candidate.passed}
    found: dict[str, Measured] = {}
    if run.plan.device.gpu:
        run.progress.note("no speed is measured: it would be the CPU's")
    elif run.plan.foreign:
        run.progress.note(f"no speed is measured: this machine is not {run.plan.spec_target.platform}")
    elif len(able) > 1:
        found = measure(run, able, variants[0].exported.served)
    base, *reduced = (
        _with_figures(variant, found[str(index)]) if str(index) in found else variant
        for index, variant in enumerate(variants)
    )
    return [base, *(_require_help(run, variant, base.candidate) for variant in reduced)]


def _with_figures(variant: Variant, found: Measured) -> Variant:
    figures = {name: value for name, value in asdict(found).items() if name != "runs"}
    return replace(variant, candidate=replace(variant.candidate, **figures))


def _require_help(run: Build, variant: Variant, base: Candidate) -> Variant:
    useless = judge_help(run.plan.gates, variant.candidate, base) if variant.candidate.passed else None
    return _refuse(variant, GateError(useless)) if useless else variant


def _require_passed(variant: Variant, candidates: tuple[Candidate, ...]) -> None:
    if variant.error is None:
        return
    first, *more = variant.error.problems
    detail = "\n".join(filter(None, (first.detail, format_candidates(candidates))))
    raise BY_EXIT_CODE[variant.error.exit_code]([Problem(first.message, first.hint, first.where, detail), *more])


def _ship(run: Build, product: Product, variant: Variant, candidates: tuple[Candidate, ...]) -> Product:
    return replace(
        product,
        model=variant.model,
        parity=variant.parity,
        candidates=candidates,
        evaluation=variant.evaluated,
        batching=measure_batching(run, variant.model, variant.exported.served),
    )
