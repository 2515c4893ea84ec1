"""Says in the log which gates a build could not judge, and fails the build where every gate is required."""

from onnxpack.core.errors import GateError, Problem
from onnxpack.pipeline.gates import BuildFacts, NotJudged, list_gates_not_judged
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product


def gather_facts(plan: Plan, product: Product) -> BuildFacts:
    """Gather what ``list_gates_not_judged`` asks from what a build made, as far as it went."""
    asked, smoke = plan.precision, product.smoke
    chosen = product.model.precision if product.model and asked == "auto" and product.candidates else asked
    return BuildFacts(
        precision=chosen,
        has_evaluation=plan.file.spec.evaluation is not None,
        scored=product.evaluation is not None,
        speed_measured=any(row.chosen and row.speedup is not None for row in product.candidates),
        image_built=product.image is not None,
        container_ran=smoke is not None and smoke.on_gpu is not False,
        gpu_missing=smoke is not None and smoke.on_gpu is False,
        gpu=plan.device.gpu,
        foreign=plan.foreign,
        emulated=smoke is not None and smoke.emulated,
        memory_soaked=smoke is not None and smoke.soak is not None and smoke.soak.growth_bytes is not None,
    )


def list_unjudged(plan: Plan, product: Product) -> tuple[NotJudged, ...]:
    """List the gates that the spec sets for this target and that nothing judged."""
    return list_gates_not_judged(plan.gates.limits, gather_facts(plan, product))


def require_judged(run: Build, product: Product) -> None:
    """Say which gates were not judged, and that a CUDA image did not run on a GPU.

    Raises:
        GateError: the build requires all gates, and one was not judged.
    """
    plan = run.plan
    missed = list_unjudged(plan, product)
    for gate in missed:
        run.progress.note(f"gates.{gate.gate} is not judged: {gate.why}")
    if plan.device.gpu and not (product.smoke and product.smoke.on_gpu):
        run.progress.note("this CUDA build never ran on a GPU: its numbers were checked on the CPU")
    if run.require_gates and missed:
        hint = "build where it can be judged, remove it from the spec, or leave out --require-gates"
        raise GateError([
            Problem(f"gates.{gate.gate} was not judged: {gate.why}", hint, plan.gates.where(gate.gate))
            for gate in missed
        ])  # fmt: skip
