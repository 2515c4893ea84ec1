"""What a spec's gates ask of an image, against what was measured."""

from onnxpack.errors import GateError, Problem
from onnxpack.look.text import size
from onnxpack.precision.candidates import Candidate
from onnxpack.report import Evaluated
from onnxpack.smoke import Smoke
from onnxpack.spec.delivery import Gates
from onnxpack.spec.load import SpecFile

_SMALLER = 0.95


def require_size(file: SpecFile, size_bytes: int) -> None:
    """The uncompressed image is no larger than ``gates.image_size``.

    Raises:
        GateError: it is.
    """
    gates = file.spec.gates
    limit = gates.image_size if gates else None
    if limit is not None and size_bytes > limit:
        hint = "a smaller precision, or a smaller base image; `onnxpack inspect` shows the layers"
        words = f"the image has {size(size_bytes)}, the gate allows {size(limit)}"
        raise GateError(Problem(words, hint, file.where("gates", "image_size")))


def require_measures(file: SpecFile, smoke: Smoke) -> tuple[str, ...]:
    """What the container showed keeps to ``cold_start``, ``latency_p50`` and ``peak_memory``.

    Returns the gates that nothing was measured for: those of a CUDA image where no GPU is.

    Raises:
        GateError: with every gate that is broken.
    """
    gates = file.spec.gates or Gates()
    measured = (
        ("cold_start", "the container was ready after", smoke.ready_seconds, gates.cold_start, seconds),
        ("latency_p50", "the median request took", smoke.latency_p50_seconds, gates.latency_p50, seconds),
        ("peak_memory", "the serving process needed", smoke.peak_rss_bytes, gates.peak_memory, size),
    )
    problems, unknown = [], []
    for name, words, value, limit, shown in measured:
        if limit is not None and value is None:
            unknown.append(name)
        elif limit is not None and value is not None and value > limit:
            hint = "the figure is of this machine; make the model lighter, or correct the gate"
            text = f"{words} {shown(value)}, gates.{name} allows {shown(limit)}"
            problems.append(Problem(text, hint, file.where("gates", name)))
    if problems:
        raise GateError(problems)
    return tuple(unknown)


def seconds(value: float) -> str:
    """A time for a person."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def degraded(file: SpecFile, precision: str, scored: Evaluated) -> Problem | None:
    """The problem with a model that loses more of the evaluation metric than ``gates.max_degradation``."""
    limit = file.spec.gates.max_degradation if file.spec.gates else None
    if limit is None or scored.degradation <= limit:
        return None
    text = (
        f"{precision}: {scored.metric} {scored.model:.6g} where the source model has {scored.source:.6g}: "
        f"a loss of {scored.degradation:.4g}, gates.max_degradation allows {limit:g}"
    )
    return Problem(text, "use a wider precision, or leave the worst nodes out", file.where("gates", "max_degradation"))


def unhelpful(file: SpecFile, found: Candidate, base: Candidate) -> Problem | None:
    """The problem with a reduced precision that is slower than ``gates.min_speedup``.

    Without that gate it must be faster than float32 or smaller by a twentieth, and smaller where no speed is measured:
    else it costs accuracy for nothing.
    """
    wanted = file.spec.gates.min_speedup if file.spec.gates else None
    speed = None if found.speedup is None else f"{found.speedup:.2f} times the speed of float32"
    if wanted is not None and found.speedup is not None:
        if found.speedup >= wanted:
            return None
        text = f"{found.precision} has {speed}, gates.min_speedup asks for {wanted:g}"
        return Problem(text, "the figure is of this machine; use another precision", file.where("gates", "min_speedup"))
    smaller = (found.size_bytes or 0) <= (base.size_bytes or 0) * _SMALLER
    if smaller or (found.speedup or 0.0) > 1:
        return None
    text = f"{found.precision} does not help: {f'{speed}, and ' if speed else ''}no smaller"
    return Problem(text, "leave the precision out, or use another one", file.where("targets"))
