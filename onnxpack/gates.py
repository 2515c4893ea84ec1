"""What a spec's gates ask of an image, against what was measured."""

from collections.abc import Callable, Iterator

from onnxpack.errors import GateError, Location, Problem
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


def require_measures(file: SpecFile, smoke: Smoke) -> None:
    """What the container showed keeps to ``cold_start``, ``latency_p50`` and ``peak_memory``.

    Raises:
        GateError: with every gate that is broken, or that could not be measured because no GPU is here.
    """
    problems = list(_broken(file.spec.gates, smoke, file.where)) if file.spec.gates else []
    if problems:
        raise GateError(problems)


def _broken(gates: Gates, smoke: Smoke, where: Callable[..., Location]) -> Iterator[Problem]:
    measured = (
        ("cold_start", "the container was ready after", smoke.ready_seconds, gates.cold_start, _seconds),
        ("latency_p50", "the median request took", smoke.latency_p50_seconds, gates.latency_p50, _seconds),
        ("peak_memory", "the serving process needed", smoke.peak_rss_bytes, gates.peak_memory, size),
    )
    for name, words, value, limit, shown in measured:
        if limit is None:
            continue
        if value is None:
            hint = "build where the engine has one, or leave the gate out for this target"
            yield Problem(f"gates.{name} cannot be measured without a GPU", hint, where("gates", name))
        elif value > limit:
            hint = "the figure is of this machine; correct the model, or the gate"
            yield Problem(f"{words} {shown(value)}, gates.{name} allows {shown(limit)}", hint, where("gates", name))


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"
