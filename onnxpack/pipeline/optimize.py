"""The transform ``optimize``: the graph that the runtime would make at each start, made once."""

from onnxpack.core.values import OnnxModel
from onnxpack.graph.isa import detect_isas
from onnxpack.pipeline.run import Build
from onnxpack.tasks.optimize import OptimizeModel


def optimize(run: Build, model: OnnxModel) -> OnnxModel:
    """Optimise a model as the target asks."""
    target = run.plan.spec_target
    machine = tuple(sorted(detect_isas())) if target.optimize == "all" else ()
    changed = run.runner.run(OptimizeModel(model, target.optimize, target.isa, machine), of=model.precision)
    for note in changed.notes:
        run.progress.note(note)
    return changed.model
