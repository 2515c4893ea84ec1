"""Judges a model and its image by the gates of a spec, and lists the gates that nothing judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from onnxpack.core.errors import GateError, Problem
from onnxpack.core.text import format_bytes, format_time
from onnxpack.image.engine import Smoke
from onnxpack.pipeline.records import Evaluated
from onnxpack.precision.candidates import Candidate
from onnxpack.spec.delivery import Gates
from onnxpack.spec.field_types import Need
from onnxpack.spec.limits import EffectiveGates

_SMALLER = 0.95
"""The share of float32's size below which a model counts as smaller: less is not worth any accuracy."""


_HINT = "it was measured on this machine: make the model smaller, or raise the gate"
_FIRST_HINT = "it is the best of three starts on this machine: leave `runtime.warmup` on, or raise the gate"


@dataclass(frozen=True)
class NotJudged:
    """A gate that the spec sets and this build did not judge."""

    gate: str
    """The field's name in ``gates``."""
    why: str


@dataclass(frozen=True)
class BuildFacts:
    """The facts about one target's build that its gates depend on."""

    precision: str
    """The one asked for; with ``auto``, the one that was chosen once it is."""
    has_evaluation: bool
    """The spec names evaluation data."""
    scored: bool
    """The evaluation metric of the model that ships was computed."""
    speed_measured: bool
    """The reduced model was timed beside float32."""
    image_built: bool
    container_ran: bool
    """The image was started and timed; not the check that a CUDA image refuses to serve without a GPU."""
    gpu_missing: bool
    """The target is for a GPU, and none is here."""
    gpu: bool = False
    """The target is for a GPU."""
    foreign: bool = False
    """The target is for another kind of machine than this one."""
    emulated: bool = False
    """The image ran under emulation."""
    memory_soaked: bool = False
    """Enough requests of all declared sizes were answered to tell how memory grows."""


def require_size(gates: EffectiveGates, size_bytes: int) -> None:
    """Require that the uncompressed image is no larger than ``gates.image_size``.

    Raises:
        GateError: it is.
    """
    limit = gates.limits.image_size
    if limit is not None and size_bytes > limit:
        hint = "set a smaller `precision` or `image.base`, or raise the gate; `onnxpack inspect IMAGE` lists its layers"
        words = f"the image has {format_bytes(size_bytes)}, the gate allows {format_bytes(limit)}"
        raise GateError(Problem(words, hint, gates.where("image_size")))


def require_measures(gates: EffectiveGates, smoke: Smoke) -> None:
    """Require that what the container showed keeps to the gates of its start, its answers and its memory.

    A limit whose figure is None was not judged, and none is of an image under emulation: see ``list_gates_not_judged``.

    Raises:
        GateError: with every gate that is broken.
    """
    if smoke.emulated:
        return
    limits, soak = gates.limits, smoke.soak
    measured = (
        ("cold_start", "the container was ready after", smoke.ready_seconds, limits.cold_start, format_time),
        ("first_answer", "beside later ones the first answer took", smoke.first_answer, limits.first_answer, _times),
        ("latency_p50", "the median request took", smoke.latency_p50_seconds, limits.latency_p50, format_time),
        ("peak_memory", "the serving process needed", smoke.peak_rss_bytes, limits.peak_memory, format_bytes),
    )
    problems = []
    for name, words, value, limit, shown in measured:
        if limit is not None and value is not None and value > limit:
            hint = _FIRST_HINT if name == "first_answer" else _HINT
            text = f"{words} {shown(value)}, gates.{name} allows {shown(limit)}"
            problems.append(Problem(text, hint, gates.where(name)))
    if soak and soak.growth_bytes is not None and (most := limits.rss_growth) is not None and soak.growth_bytes > most:
        text = (
            f"over {soak.requests} requests of all declared sizes memory grew by {format_bytes(soak.growth_bytes)} to "
            f"{format_bytes(soak.rss_bytes)}, gates.rss_growth allows {format_bytes(most)}"
        )
        hint = "lower the greatest sizes in `dynamic_axes`, or raise the gate"
        problems.append(Problem(text, hint, gates.where("rss_growth")))
    if problems:
        raise GateError(problems)


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times as long"


def judge_degradation(gates: EffectiveGates, precision: str, scored: Evaluated) -> Problem | None:
    """Return the problem with a model that loses more of the evaluation metric than ``gates.max_degradation``."""
    limit = gates.limits.max_degradation
    if limit is None or scored.degradation <= limit:
        return None
    text = (
        f"{precision}: {scored.metric} {scored.model:.6g} where the source model has {scored.source:.6g}: "
        f"a loss of {scored.degradation:.4g}, gates.max_degradation allows {limit:g}"
    )
    return Problem(
        text, "set a wider `precision`, or list the worst nodes in `exclude_nodes`", gates.where("max_degradation")
    )


def judge_score(gates: EffectiveGates, precision: str, scored: Evaluated) -> Problem | None:
    """Return the problem with a model whose evaluation metric is below ``gates.min_score``."""
    limit = gates.limits.min_score
    if limit is None or scored.model >= limit:
        return None
    text = f"{precision}: {scored.metric} {scored.model:.6g}, gates.min_score asks for {limit:g}"
    hint = (
        f"the source model has {scored.source:.6g}: set a wider `precision`, or list the worst nodes in `exclude_nodes`"
    )
    if scored.source < limit:
        hint = f"the source model itself has only {scored.source:.6g}: train a better one, or lower the gate"
    return Problem(text, hint, gates.where("min_score"))


def judge_help(gates: EffectiveGates, found: Candidate, base: Candidate) -> Problem | None:
    """Return the problem with a reduced precision that is slower than ``gates.min_speedup``.

    Without that gate it must be faster than float32 or smaller by a twentieth, and smaller where no speed is measured:
    else it costs accuracy for nothing.
    """
    wanted = gates.limits.min_speedup
    speed = None if found.speedup is None else f"{found.speedup:.2f} times the speed of float32"
    if wanted is not None and found.speedup is not None:
        if found.speedup >= wanted:
            return None
        text = f"{found.precision} has {speed}, gates.min_speedup asks for {wanted:g}"
        return Problem(
            text,
            "it was measured on this machine: set another `precision`, or lower the gate",
            gates.where("min_speedup"),
        )
    smaller = (found.size_bytes or 0) <= (base.size_bytes or 0) * _SMALLER
    if smaller or (found.speedup or 0.0) > 1:
        return None
    text = f"{found.precision} does not help: {f'{speed}, and ' if speed else ''}no smaller"
    return Problem(text, "remove `precision` from the target, or set another one", gates.target)


def list_gates_not_judged(gates: Gates, facts: BuildFacts) -> tuple[NotJudged, ...]:
    """List the gates that are set and that this build did not judge, in the order of the spec's fields."""
    found = []
    for field in fields(gates):
        if getattr(gates, field.name) is None:
            continue
        need: Need | None = field.metadata.get("need")
        why = _MISSING[need](facts) if need else "no stage judges it"
        if why:
            found.append(NotJudged(field.name, why))
    return tuple(found)


def _no_score(facts: BuildFacts) -> str:
    if not facts.has_evaluation:
        return "the spec has no evaluation data"
    return "" if facts.scored else "the build ended before the model was scored"


def _no_speed(facts: BuildFacts) -> str:
    if facts.precision == "float32":
        return "the precision is float32"
    if facts.gpu_missing:
        return "no GPU is here"
    if facts.foreign:
        return "this machine is of another kind"
    return "" if facts.speed_measured else "no speed was measured"


def _no_image(facts: BuildFacts) -> str:
    return "" if facts.image_built else "no image was built"


def _no_container(facts: BuildFacts) -> str:
    if not facts.image_built:
        return _no_image(facts)
    if facts.gpu_missing:
        return "no GPU is here"
    if facts.emulated:
        return "the image ran under emulation"
    return "" if facts.container_ran else "the image was not run"


def _no_soak(facts: BuildFacts) -> str:
    if missing := _no_container(facts):
        return missing
    return "" if facts.memory_soaked else "too few requests were answered in its time"


def _no_gpu(facts: BuildFacts) -> str:
    return _no_container(facts) if facts.gpu else "the device has no GPU"


_MISSING: Mapping[Need, Callable[[BuildFacts], str]] = {
    "score": _no_score,
    "speed": _no_speed,
    "image": _no_image,
    "container": _no_container,
    "soak": _no_soak,
    "gpu": _no_gpu,
}
"""For each need of a gate, a function that says why a build could not judge it; an empty text where it could."""
