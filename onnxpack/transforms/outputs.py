"""The steps of ``postprocess`` that are nodes behind a model, planned one after another and computed in numpy."""

from collections.abc import Mapping

from onnxpack.core.errors import SpecError
from onnxpack.core.values import TensorInfo
from onnxpack.data.test_inputs import Arrays, get_dtype_word
from onnxpack.spec.conclusions import explain_misfit, list_conclusions
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.output_names import list_dropped, list_step_inputs, list_step_outputs, place_outputs
from onnxpack.spec.steps import PostprocessStep
from onnxpack.transforms import classify, detect, numeric
from onnxpack.transforms.operations import Operation, PostStage

OPERATIONS: dict[str, Operation] = {**numeric.OPERATIONS, **classify.OPERATIONS, **detect.OPERATIONS}


def make_post_stages(file: SpecFile, outputs: tuple[TensorInfo, ...]) -> tuple[tuple[PostStage, ...], list[str]]:
    """Return the steps behind a model with these outputs, and the names of the final outputs in order.

    Raises:
        SpecError: a step cannot be applied to the output that it names, or two outputs would have one name.
    """
    now = {info.name: info for info in outputs}
    found = []
    for step in _list_steps(file.spec):
        stage = _make_post_stage(file, step, now)
        now = place_outputs(now, step, {info.name: info for info in stage.given})
        found.append(stage)
    for one in list_conclusions(file.spec):
        why = explain_misfit(one, now.values(), len(read_labels(file, one.step)))
        if why:
            raise SpecError(f"postprocess: {why}", "correct the step, or set its `input` to another output")
    clash = [name for name in now if name in file.spec.inputs]
    if clash:
        raise SpecError(f"postprocess: the output '{clash[0]}' has an input's name", "set another name in `output`")
    return tuple(found), list(now)


def apply_postprocess(file: SpecFile, outputs: Arrays) -> Arrays:
    """Compute a client's outputs from the model's outputs.

    Raises:
        SpecError: as ``make_post_stages``, or a class has no label.
    """
    now = dict(outputs)
    for step in _list_steps(file.spec):
        infos = {name: TensorInfo(name, get_dtype_word(array.dtype), array.shape) for name, array in now.items()}
        stage = _make_post_stage(file, step, infos)
        results = OPERATIONS[step.op].compute(stage, tuple(now[info.name] for info in stage.taken))
        now = place_outputs(now, step, {info.name: array for info, array in zip(stage.given, results, strict=True)})
    return now


def list_units(spec: Spec) -> dict[str, float]:
    """Return the unit of the last digit of outputs that are rounded, by their names."""
    found: dict[str, float] = {}
    for step in spec.postprocess:
        (name, *_), unit = list_step_outputs(step), found.get(step.input)
        for gone in list_dropped(step):
            found.pop(gone, None)
        if step.op == "round":
            found[name] = 10.0 ** -(step.digits or 0)
        elif unit and step.op in ("scale", "mean"):
            found[name] = unit * abs(step.factor or 1.0)
    return found


def _list_steps(spec: Spec) -> list[PostprocessStep]:
    """Return the steps that are nodes of the ONNX file."""
    return [step for step in spec.postprocess if step.op in OPERATIONS]


def _make_post_stage(file: SpecFile, step: PostprocessStep, now: Mapping[str, TensorInfo]) -> PostStage:
    for name in list_step_inputs(step):
        if name not in now:
            raise SpecError(f"postprocess: there is no output '{name}' here", f"known: {', '.join(now)}")
    taken = tuple(now[name] for name in list_step_inputs(step))
    return OPERATIONS[step.op].plan(step, taken, read_labels(file, step))


def read_labels(file: SpecFile, step: PostprocessStep) -> tuple[str, ...]:
    """Return the lines of a step's file of labels.

    Raises:
        SpecError: it is empty, or no text in UTF-8.
    """
    if step.labels is None:
        return ()
    try:
        lines = file.resolve(step.labels).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"labels '{step.labels}': {error}", "use a text file in UTF-8 with one label per line"
        ) from None
    if not lines:
        raise SpecError(f"labels '{step.labels}': the file is empty", "put one label on each line")
    return tuple(lines)
