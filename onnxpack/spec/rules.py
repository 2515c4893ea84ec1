"""Rules on targets: what their precision, gates and names need from the rest of the spec."""

from collections.abc import Callable, Iterator

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import plural
from onnxpack.spec.delivery import Target
from onnxpack.spec.limits import EffectiveGates, effective_gates
from onnxpack.spec.model import LOWER_IS_BETTER, METRICS_OF_NUMBERS, Spec
from onnxpack.spec.origin import is_code
from onnxpack.spec.traits import FLOAT32, frameworks, precisions
from onnxpack.targets import load_device

Where = Callable[..., Location]

OWN_VARIABLES = ("ORT_DISABLE_TELEMETRY", "PYTHONPATH")
"""Environment variables that the image itself relies on."""
_PORT_VARIABLES = ("ONNXPACK_PORT", "ONNXPACK_GRPC_PORT")
"""Change the ports of a running container's server; an image's own port is ``runtime.port``, which is exposed too."""
_LAST_PORT = 65535
_LOADER = "LD_"
"""How the variables of the dynamic loader begin (ld.so(8)): they put other libraries in front of the verified ones."""
_CODE_VARIABLES = (
    "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONPYCACHEPREFIX", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONUSERBASE",
    "PYTHONEXECUTABLE", "GCONV_PATH", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
)  # fmt: skip
"""Other variables by which Python, the C library (iconv) and OpenSSL load code from elsewhere."""
OWN_LABELS = "dev.onnxpack."
_MAX_TAG = 128  # of the OCI distribution specification
_FEWEST_CLASSES = 2


def check_precision(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that device, framework, opset and data allow each target's precision."""
    for name, target in spec.targets.items():
        place = where("targets", name, "precision")
        wanted = target.precision
        if wanted != FLOAT32 and not frameworks()[spec.model.framework].reducible:
            hint = "remove `precision`: such models are not made of tensor arithmetic"
            yield Problem(f"precision {wanted} does not apply to {spec.model.framework}", hint, place)
        if traits := precisions().get(wanted):
            if target.device in traits.refused_on:
                yield Problem(*traits.refused_on[target.device], place)
            if traits.calibrated and spec.calibration is None:
                hint = "add `calibration: {data: calibration.npz}`"
                yield Problem(f"{wanted} needs calibration data", hint, place)
            if spec.opset is not None and spec.opset < traits.min_opset:
                hint = f"set `opset: {traits.min_opset}` or higher"
                yield Problem(f"{wanted} needs opset {traits.min_opset}, the spec asks for {spec.opset}", hint, place)
        yield from _check_options(name, target, where)


def _check_options(name: str, target: Target, where: Where) -> Iterator[Problem]:
    if target.optimize == "all" and target.isa is None:
        hint = "set `isa` to that of the machines that serve, or `optimize: extended`"
        yield Problem("optimize: all ties the model to one kind of CPU", hint, where("targets", name, "optimize"))
    arm, gpu = target.platform.endswith("arm64"), load_device(target.device).gpu
    if arm and gpu:
        hint = "remove `platform`, or set `device: cpu`"
        place = where("targets", name, "platform")
        yield Problem(f"device {target.device} has packages for linux/amd64 alone", hint, place)
    if target.isa is not None and (gpu or target.isa.startswith("neon") != arm):
        runs = "a GPU" if gpu else target.platform
        place = where("targets", name, "isa")
        hint = "remove it" if gpu else f"remove it, or name an instruction set of {runs}"
        yield Problem(f"isa {target.isa} does not apply to {runs}", hint, place)
    scaled = [word for word, traits in precisions().items() if traits.per_channel]
    if target.per_channel is not None and target.precision not in scaled:
        place = where("targets", name, "per_channel")
        hint = f"remove it: it is for {' and '.join(scaled)}"
        yield Problem(f"per_channel does not apply to {target.precision}", hint, place)
    if target.optimize in ("extended", "all") and gpu:
        hint = "set `optimize: basic`: the provider of a GPU fuses what it can when it starts"
        place = where("targets", name, "optimize")
        yield Problem(f"optimize: {target.optimize} makes operators for the CPU", hint, place)
    if target.objective in ("latency", "throughput") and gpu:
        place = where("targets", name, "objective")
        yield Problem(
            f"{target.objective} on {target.device} is not measured during a build", "set `objective: size`", place
        )
    if target.objective is not None and target.precision != "auto":
        place = where("targets", name, "objective")
        yield Problem(f"objective does not apply to {target.precision}", "remove it, or set `precision: auto`", place)
    if target.exclude_nodes and target.precision == "float32":
        place = where("targets", name, "exclude_nodes")
        yield Problem("exclude_nodes does not apply to float32", "remove it, or set a reduced `precision`", place)


def check_evaluation(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that the evaluation's labels and classes fit its metric."""
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
        yield Problem(f"classes does not apply to the metric {wanted.metric}", f"remove it: {reason}", place)
    if len(wanted.classes) < _FEWEST_CLASSES:
        hint = (
            "list all labels in the order of the model's columns; of one score for two classes, the positive one last"
        )
        yield Problem(
            f"classes has {plural(len(wanted.classes), 'label')}, and a classifier has 2 or more", hint, place
        )
    if len({type(label) for label in wanted.classes}) > 1:
        hint = "list them as they are in the data; texts that look like numbers need quotes"
        yield Problem("classes mixes numbers and texts", hint, place)
    for index, label in enumerate(wanted.classes):
        if label in wanted.classes[:index]:
            place = where("evaluation", "classes", index)
            yield Problem(f"the label '{label}' is twice in classes", "list each column's label once", place)


def check_gates(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that evaluation and precisions give what the gates of each target need."""
    precisions = {target.precision for target in spec.targets.values()}
    told = set()
    for name, target in spec.targets.items():
        found = effective_gates(spec, name, where)
        problems = list(_check_score_gates(spec, found))
        own = target.gates is not None and target.gates.min_speedup is not None
        compared = target.precision != "float32" if own else precisions != {"float32"}
        problems += _check_gpu_gate(spec, name, found)
        if found.limits.min_speedup is not None and not compared:
            hint = "remove it: it compares a reduced precision with float32"
            text = f"min_speedup does not apply to float32{'' if own else ' alone'}"
            problems.append(Problem(text, hint, found.where("min_speedup")))
        for problem in problems:
            if problem not in told:  # a common gate is the same problem for every target
                told.add(problem)
                yield problem


def _check_gpu_gate(spec: Spec, target: str, found: EffectiveGates) -> Iterator[Problem]:
    """Check that ``gpu_nodes`` stands at a target for a GPU, or is common to targets of which one is."""
    gates = spec.targets[target].gates
    own = gates is not None and gates.gpu_nodes is not None
    devices = {spec.targets[target].device} if own else {other.device for other in spec.targets.values()}
    if found.limits.gpu_nodes is not None and not any(load_device(device).gpu for device in devices):
        hint = "remove it: it is about the share of nodes that run on a GPU"
        yield Problem(f"gpu_nodes does not apply to {' and '.join(sorted(devices))}", hint, found.where("gpu_nodes"))


def _check_score_gates(spec: Spec, found: EffectiveGates) -> Iterator[Problem]:
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
        yield Problem(f"min_score does not apply to {metric}, where less is better", hint, place)
    elif limits.min_score > 1:
        hint = "use a fraction: 0.95, not 95"
        yield Problem(f"min_score {limits.min_score:g} cannot be reached: {metric} is 1 at most", hint, place)


def check_tags(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that an image's tag, the version and the target's name, has at most 128 characters."""
    for name in spec.targets:
        length = len(f"{spec.version or ''}-{name}")
        if length > _MAX_TAG:
            hint = "shorten the version or the target's name"
            yield Problem(
                f"the tag of target '{name}' would have {length} characters, and {_MAX_TAG} are allowed",
                hint,
                where("targets", name),
            )


def check_serving(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check what the image and its server rely on: variables, labels, dtypes and the batch axis."""
    for name in spec.image.env:
        place = where("image", "env", name)
        if name in OWN_VARIABLES:
            yield Problem(f"{name} is set by the image itself", "remove it", place)
        elif name in _PORT_VARIABLES:
            yield Problem(
                f"{name} would move the server from the image's own port", "set `port` in `runtime` instead", place
            )
        elif name.startswith(_LOADER) or name in _CODE_VARIABLES:
            hint = "remove it; what every image needs belongs in a base image of your own"
            yield Problem(f"{name} makes the image load code that was not verified", hint, place)
    for key in spec.image.labels:
        if key.startswith(OWN_LABELS):
            yield Problem(
                f"labels that begin with {OWN_LABELS} are set by the build", "rename it", where("image", "labels", key)
            )
    for name, tensor in spec.inputs.items():
        if tensor.dtype == "bfloat16":
            hint = "declare float32, and convert inside the model"
            yield Problem("clients cannot send bfloat16: numpy has none", hint, where("inputs", name, "dtype"))
    if spec.runtime.workers > 1 and spec.runtime.server != "http":
        hint = "set `server: http`, or remove `workers`"
        message = f"workers does not apply to the server {spec.runtime.server}"
        yield Problem(message, hint, where("runtime", "workers"))
    if spec.runtime.server == "http+grpc" and spec.runtime.port == _LAST_PORT:
        hint = f"set it to {_LAST_PORT - 1} or less"
        yield Problem(f"there is no port for gRPC behind {_LAST_PORT}", hint, where("runtime", "port"))
    yield from _check_batching(spec, where)


def _check_batching(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check what can be told of batching before the model is exported; its outputs are looked at behind that."""
    batching = spec.runtime.batching
    if batching is None:
        return
    if spec.runtime.server == "none":
        hint = "remove it: there are no requests to combine"
        yield Problem("batching needs a server, and runtime.server is none", hint, where("runtime", "batching"))
    axis = spec.dynamic_axes.get(spec.row_axis) if spec.row_axis else None
    place = where("runtime", "batching", "max_batch_size")
    if axis is None:
        hint = "give all inputs the same dynamic axis as their first, and in no other place"
        yield Problem("batching needs a batch axis", hint, where("runtime", "batching"))
    elif batching.max_batch_size > axis.max:
        hint = f"set it to {axis.max} or less, or raise the axis' max"
        yield Problem(f"max_batch_size {batching.max_batch_size} is above the axis' max {axis.max}", hint, place)
    elif batching.max_batch_size < axis.min:
        hint = f"set it to {axis.min} or more, or lower the axis' min"
        yield Problem(f"max_batch_size {batching.max_batch_size} is below the axis' min {axis.min}", hint, place)
