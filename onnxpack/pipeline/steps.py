"""The stage ``steps``: pre- and postprocessing as nodes around the model."""

from dataclasses import replace

from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.verify import require_same
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.steps import AddSteps


def add_steps(run: Build, product: Product) -> Product:
    """Add the steps and judge the model by what a client is to get.

    Raises:
        ParityError: the model with its steps answers otherwise than the source behind the same steps in numpy.
    """
    assert product.exported
    assert product.model
    part = SpecPart.of(run.plan.file, "outputs", "dynamic_axes", "opset", "preprocess", "postprocess")
    model = run.runner.run(AddSteps(product.model, part)).model
    return replace(product, model=model, parity=require_same(run, model, product.exported, "model with its steps"))
