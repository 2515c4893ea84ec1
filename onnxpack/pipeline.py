"""The chain of stages for one target."""

import shutil
from dataclasses import replace

from onnxpack.bundle.context import model_files
from onnxpack.output import replacing
from onnxpack.report import Built, to_json
from onnxpack.stages.changes import fused_first, fused_last, with_steps
from onnxpack.stages.choice import reduce
from onnxpack.stages.delivery import bundle, deliver
from onnxpack.stages.run import Build
from onnxpack.stages.source import export, verify


def build(run: Build) -> Built:
    """The whole chain; writes ``dist/<name>/<target>/`` at its end, and gives what the report says.

    Raises:
        OnnxpackError: the first stage that failed; nothing of this run is left then.
    """
    built, exported = export(run)
    with replacing(run.plan.output) as folder:
        if run.reaches("verify"):
            built = replace(built, parity=verify(run, built.model, exported))
            built = with_steps(run, built, exported)
        if run.reaches("precision"):
            built = reduce(run, fused_first(run, built, exported), exported)
        if run.reaches("optimize"):
            built = fused_last(run, built, exported)
        for file in model_files(built.model.path):
            shutil.copyfile(file, folder / file.name)
        if run.reaches("bundle"):
            context = bundle(run, built.model, folder / "context")
            built = replace(built, version=context.version)
            if run.reaches("image"):
                built = deliver(run, built, context, exported)
        built = replace(built, stages=tuple(run.stages))
        (folder / "report.json").write_text(to_json(built))
    return built
