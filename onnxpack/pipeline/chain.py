"""The chain of a target: an explicit tuple of stages, made purely from the spec. All commands walk it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from onnxpack.pipeline.base import check_base
from onnxpack.pipeline.bundle import bundle
from onnxpack.pipeline.export import export
from onnxpack.pipeline.image import DeliverImage
from onnxpack.pipeline.optimize import optimize
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.push import push
from onnxpack.pipeline.reproduce import reproduce
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.steps import add_steps
from onnxpack.pipeline.variants import ChooseVariant, Transform, Variant, apply_precision
from onnxpack.pipeline.verify import verify
from onnxpack.spec.traits import precisions


@dataclass(frozen=True)
class Stage:
    """A link of the chain: its names, as users see them, and the function that it applies to the product.

    ``names`` are several where one stage makes several transforms of each variant.
    """

    names: tuple[str, ...]
    apply: Callable[[Build, Product], Product]


def chain(plan: Plan, until: str | None = None) -> tuple[Stage, ...]:
    """Return the stages of a target in their order, those behind ``until`` left out.

    A stage for which the spec asks nothing is left out; ``until`` may name such a stage all the same. Stopping at
    ``verify`` includes ``steps``: the model is verified with its steps around it. ``base`` comes first, so that a base
    which will not do costs no export, and only where an image is built. What a plan asks for besides the stages of
    every build comes after ``smoke``.
    """
    order = stage_order(plan)
    last = {None: order[-1], "verify": "steps", "smoke": order[-1]}.get(until, until)
    wanted = order[: order.index(last) + 1] if last else order
    if "image" not in wanted:
        wanted = wanted[1:]
    names = [name for name in wanted if _is_asked(plan, name)]
    transforms = tuple(_TRANSFORMS[name] for name in names if name in _TRANSFORMS)
    # Verified float32 goes through the same stage as every other precision: its gates are judged there.
    variants = Stage(tuple(name for name in names if name in _TRANSFORMS), ChooseVariant(transforms))
    reached = any(name in wanted for name in _TRANSFORMS)
    image = tuple(name for name in names if name in _IMAGE)
    before = tuple(Stage((name,), _STAGES[name]) for name in names if name in _STAGES)
    return (
        *before,
        *((variants,) if reached else ()),
        *((Stage(("bundle",), bundle),) if "bundle" in names else ()),
        *((Stage(image, DeliverImage("smoke" in image)),) if image else ()),
        *((Stage(("reproduce",), reproduce),) if "reproduce" in names else ()),
        *((Stage(("push",), push),) if "push" in names else ()),
    )


def stage_order(plan: Plan) -> tuple[str, ...]:
    """Return the names of all stages in the order in which this target goes through them.

    Quantizers to 8 bits and fewer know no fused nodes, so optimisation comes behind them. In front of a conversion to
    16 bits: onnxruntime optimises such a model for the CPU that does it, with casts to float32 where it has no kernel.
    """
    traits = precisions().get(plan.precision)
    optimized_first = plan.device.gpu or (traits is not None and traits.behind_optimize)
    transforms = ("optimize", "precision") if optimized_first else ("precision", "optimize")
    return ("base", "export", "verify", "steps", *transforms, "bundle", "image", "smoke", "reproduce", "push")


def walk(run: Build, stages: Iterable[Stage], product: Product) -> Product:
    """Apply the stages one after another."""
    for stage in stages:
        product = stage.apply(run, product)
    return product


def _is_asked(plan: Plan, name: str) -> bool:
    spec, target = plan.file.spec, plan.spec_target
    if name == "steps":
        return bool(spec.preprocess or spec.postprocess)
    if name in ("reproduce", "push"):
        return plan.push if name == "push" else plan.reproduce
    if name == "precision":
        return plan.precision != "float32"
    return name != "optimize" or target.optimize != "none"


def _apply_optimize(run: Build, variant: Variant) -> Variant:
    return replace(variant, model=optimize(run, variant.model))


_TRANSFORMS: dict[str, Transform] = {"precision": apply_precision, "optimize": _apply_optimize}
_STAGES: dict[str, Callable[[Build, Product], Product]] = {
    "base": check_base,
    "export": export,
    "verify": verify,
    "steps": add_steps,
}
_IMAGE = ("image", "smoke")
