"""Rules between what is asked of a target and what must be given for it: precision, data, gates, names."""

from collections.abc import Callable, Iterator

from onnxpack.errors import Location, Problem
from onnxpack.spec.delivery import Target
from onnxpack.spec.limits import EffectiveGates, effective_gates
from onnxpack.spec.model import LOWER_IS_BETTER, METRICS_OF_NUMBERS, Spec
from onnxpack.spec.origin import is_code

Where = Callable[..., Location]

OWN_VARIABLES = ("ORT_DISABLE_TELEMETRY", "PYTHONPATH")
"""Environment variables that the image itself relies on."""
_PORT_VARIABLE = "ONNXPACK_PORT"
"""What moves the server of a running container; the image's own port is ``runtime.port``, which is exposed too."""
_LOADER = "LD_"
"""How the variables of the dynamic loader begin (ld.so(8)): they put other libraries in front of the verified ones."""
_CODE_VARIABLES = (
    "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONPYCACHEPREFIX", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONUSERBASE",
    "PYTHONEXECUTABLE", "GCONV_PATH", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
)  # fmt: skip
"""Other variables by which Python, the C library (iconv) and OpenSSL load code from elsewhere."""
OWN_LABELS = "dev.onnxpack."
_INT8 = ("int8-dynamic", "int8-static")
_QUANTIZED = (*_INT8, "int4-weights", "int8-weights")
_MAX_TAG = 128
_FEWEST_CLASSES = 2
_QDQ_OPSET = 13
"""From here on DequantizeLinear has an axis, and bfloat16 is an ordinary dtype."""
_WITHOUT_PRECISION = ("sklearn", "lightgbm", "xgboost", "catboost")


def precision(spec: Spec, where: Where) -> Iterator[Problem]:
    """What a target's precision needs from its device, the framework, the opset and the data."""
    for name, target in spec.targets.items():
        place = where("targets", name, "precision")
        wanted = target.precision
        if wanted != "float32" and spec.model.framework in _WITHOUT_PRECISION:
            hint = "its operators are not arithmetic on tensors; leave precision out"
            yield Problem(f"precision {wanted} means nothing for {spec.model.framework}", hint, place)
        if wanted == "bfloat16" and target.device == "cpu":
            yield Problem("bfloat16 has no arithmetic on the CPU", "use device: cuda, or float32", place)
        if wanted == "int8-dynamic" and target.device == "cuda":
            yield Problem("int8-dynamic has no kernels on the GPU", "use float16, or int8-static", place)
        if wanted == "int8-static" and spec.calibration is None:
            yield Problem("int8-static needs calibration data", "add `calibration: {data: calibration.npz}`", place)
        if wanted in ("bfloat16", *_INT8) and spec.opset is not None and spec.opset < _QDQ_OPSET:
            hint = f"write opset: {_QDQ_OPSET} or higher"
            yield Problem(f"{wanted} needs opset {_QDQ_OPSET}, the spec asks for {spec.opset}", hint, place)
        yield from _options(name, target, where)


def _options(name: str, target: Target, where: Where) -> Iterator[Problem]:
    if target.optimize == "all" and target.isa is None:
        hint = "name the isa of the machines that serve, or use extended"
        yield Problem("optimize: all ties the model to one kind of CPU", hint, where("targets", name, "optimize"))
    arm = target.platform.endswith("arm64")
    if target.isa is not None and (target.device == "cuda" or target.isa.startswith("neon") != arm):
        runs = "a GPU" if target.device == "cuda" else target.platform
        place = where("targets", name, "isa")
        yield Problem(f"isa {target.isa} means nothing for {runs}", "name one of the CPUs that serve", place)
    if target.per_channel is not None and target.precision not in _INT8:
        place = where("targets", name, "per_channel")
        yield Problem(f"per_channel means nothing for {target.precision}", f"it is for {' and '.join(_INT8)}", place)
    if target.optimize in ("extended", "all") and target.device == "cuda":
        hint = "write basic: the CUDA provider fuses what it can at the start"
        place = where("targets", name, "optimize")
        yield Problem(f"optimize: {target.optimize} makes operators of the CPU's", hint, place)
    if target.objective in ("latency", "throughput") and target.device == "cuda":
        place = where("targets", name, "objective")
        yield Problem(f"the {target.objective} of CUDA is not measured when building", "write size", place)
    if target.objective is not None and target.precision != "auto":
        place = where("targets", name, "objective")
        yield Problem(f"objective means nothing for {target.precision}", "it is for precision: auto", place)
    if target.exclude_nodes and target.precision == "float32":
        place = where("targets", name, "exclude_nodes")
        yield Problem("exclude_nodes means nothing for float32", "remove it, or reduce the precision", place)


def evaluation(spec: Spec, where: Where) -> Iterator[Problem]:
    """What the evaluation's metric needs from its labels and classes."""
    wanted = spec.evaluation
    if wanted is None:
        return
    if wanted.labels is None and not is_code(wanted.metric):
        hint = "name the array of right answers in the data, as `labels: y`"
        yield Problem(f"the metric {wanted.metric} needs labels", hint, where("evaluation"))
    if wanted.classes is None:
        return
    place = where("evaluation", "classes")
    if is_code(wanted.metric) or wanted.metric in METRICS_OF_NUMBERS:
        reason = "your own metric gets the labels as they are" if is_code(wanted.metric) else "it compares numbers"
        yield Problem(f"classes means nothing for the metric {wanted.metric}", f"remove it: {reason}", place)
    if len(wanted.classes) < _FEWEST_CLASSES:
        hint = (
            "list all labels in the order of the model's columns; of one score for two classes, the positive one last"
        )
        yield Problem(f"classes has {len(wanted.classes)} labels, and a classifier has 2 or more", hint, place)
    if len({type(label) for label in wanted.classes}) > 1:
        hint = "write all of them as the data has them: numbers plain, texts in quotes where they look like numbers"
        yield Problem("classes mixes numbers and texts", hint, place)
    for index, label in enumerate(wanted.classes):
        if label in wanted.classes[:index]:
            place = where("evaluation", "classes", index)
            yield Problem(f"the label '{label}' stands twice in classes", "name each column's label once", place)


def gates(spec: Spec, where: Where) -> Iterator[Problem]:
    """What the gates of each target need from the evaluation and from the precisions."""
    precisions = {target.precision for target in spec.targets.values()}
    told = set()
    for name, target in spec.targets.items():
        found = effective_gates(spec, name, where)
        problems = list(_score_gates(spec, found))
        own = target.gates is not None and target.gates.min_speedup is not None
        compared = target.precision != "float32" if own else precisions != {"float32"}
        if found.limits.min_speedup is not None and not compared:
            hint = "it compares a reduced precision with float32"
            text = f"min_speedup means nothing for float32{'' if own else ' alone'}"
            problems.append(Problem(text, hint, found.where("min_speedup")))
        for problem in problems:
            if problem not in told:  # a common gate is the same problem for every target
                told.add(problem)
                yield problem


def _score_gates(spec: Spec, found: EffectiveGates) -> Iterator[Problem]:
    limits = found.limits
    for name in ("max_degradation", "min_score"):
        if getattr(limits, name) is not None and spec.evaluation is None:
            hint = "add `evaluation: {data: validation.npz, labels: y}`"
            yield Problem(f"{name} needs evaluation data", hint, found.where(name))
    if limits.min_score is None or spec.evaluation is None or is_code(spec.evaluation.metric):
        return
    metric, place = spec.evaluation.metric, found.where("min_score")
    if metric in LOWER_IS_BETTER:
        hint = "use max_degradation: it limits how much worse than its source a model may be"
        yield Problem(f"min_score means nothing for {metric}: of it, less is better", hint, place)
    elif limits.min_score > 1:
        hint = "write it as a fraction: 0.95, not 95"
        yield Problem(f"min_score {limits.min_score:g} can not be reached: {metric} is 1 at most", hint, place)


def tags(spec: Spec, where: Where) -> Iterator[Problem]:
    """An image's tag is the version and the target's name; the distribution specification allows 128 characters."""
    for name in spec.targets:
        length = len(f"{spec.version or ''}-{name}")
        if length > _MAX_TAG:
            hint = "shorten the version or the target's name"
            yield Problem(f"the tag of target '{name}' would have {length} characters", hint, where("targets", name))


def serving(spec: Spec, where: Where) -> Iterator[Problem]:
    """What the image and its server rely on."""
    for name in spec.image.env:
        place = where("image", "env", name)
        if name in OWN_VARIABLES:
            yield Problem(f"{name} is set by the image itself", "remove it", place)
        elif name == _PORT_VARIABLE:
            yield Problem(f"{name} would move the server from the image's own port", "write runtime.port", place)
        elif name.startswith(_LOADER) or name in _CODE_VARIABLES:
            hint = "remove it; what every image needs belongs in a base image of your own"
            yield Problem(f"{name} makes the image load code that was not verified", hint, place)
    for key in spec.image.labels:
        if key.startswith(OWN_LABELS):
            yield Problem(f"labels {OWN_LABELS}* are the build's own", "rename it", where("image", "labels", key))
    for name, tensor in spec.inputs.items():
        if tensor.dtype == "bfloat16":
            hint = "take float32 and convert inside the model"
            yield Problem("clients cannot send bfloat16: numpy has none", hint, where("inputs", name, "dtype"))
    batching = spec.runtime.batching
    axis = spec.dynamic_axes.get(spec.first_size) if isinstance(spec.first_size, str) else None
    if batching and axis is None:
        hint = "give all inputs the same dynamic axis as their first"
        yield Problem("batching needs a batch axis", hint, where("runtime", "batching"))
    elif batching and axis and batching.max_batch_size > axis.max:
        hint = f"write {axis.max} or less, or widen the axis"
        place = where("runtime", "batching", "max_batch_size")
        yield Problem(f"max_batch_size {batching.max_batch_size} is above the axis' max {axis.max}", hint, place)
