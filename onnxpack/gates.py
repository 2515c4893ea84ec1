"""What a spec's gates ask of an image, against what was measured."""

from onnxpack.errors import GateError, Problem
from onnxpack.look.text import size
from onnxpack.smoke import Smoke
from onnxpack.spec.delivery import Gates
from onnxpack.spec.load import SpecFile


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
