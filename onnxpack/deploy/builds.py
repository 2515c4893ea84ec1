"""Read what a build left, as far as a cluster needs it: its report, its model and its image."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.values import MODEL, Axis, TensorInfo, find_batch_axis
from onnxpack.deploy.names import make_name
from onnxpack.inspection.report import read_report
from onnxpack.oci.reference import ImageReference, parse_reference
from onnxpack.pipeline.report import PASSED, REPORT
from onnxpack.timing.queueing import Load

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**50)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=2**16 - 1)]
_MOST = 1e9
"""No figure of a load is so large."""
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


@dataclass(frozen=True)
class Serving:
    """How the image of a build serves, as ``report.json`` has it; the fields mean what those of the spec mean."""

    image: str
    """The image's first name, with its tag."""
    ports: tuple[_Port, ...]
    gpu: bool
    server: str
    device: str
    platform: str
    isa: str | None
    threads: _Count | None
    """None: as many as the container has CPUs."""
    workers: _Count
    drain_seconds: _Seconds
    max_body_bytes: _Count
    max_batch_size: _Count | None
    max_queue_delay_seconds: _Seconds
    other_targets: tuple[str, ...]
    """The spec's other targets, whose images have the same repository."""


@dataclass(frozen=True)
class Figures:
    """What the smoke test measured; None of what it did not."""

    ready_seconds: float | None
    peak_rss_bytes: int | None
    """The most that the server ever held, over all that was asked."""
    load: Load | None


@dataclass(frozen=True)
class Build:
    """A build that passed."""

    folder: Path
    name: str
    """The spec's name, by which clients ask for the model."""
    target: str
    version: str
    serving: Serving
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    axes: tuple[Axis, ...]
    pushed: ImageReference | None
    """The image in its registry, by digest; None of one that was not pushed."""
    figures: Figures

    @property
    def resource(self) -> str:
        """Return the name of its resources in a cluster."""
        return make_name(f"{self.name}-{self.target}")

    @property
    def label(self) -> str:
        """Return what it is called towards people."""
        return f"{self.name}, target {self.target}"

    @property
    def model(self) -> Path:
        """Return the path of the model that ships."""
        return self.folder / MODEL

    @property
    def batch(self) -> Axis | None:
        """Return the dynamic axis that is dimension 0 of every input and output, if there is one."""
        name = find_batch_axis(self.inputs, self.outputs)
        return next((axis for axis in self.axes if axis.name == name), None)


def read_build(folder: Path) -> Build:
    """Return the build whose output is in a folder, ``dist/NAME/TARGET``.

    Raises:
        SpecError: there is none, it failed, it ended before the bundle, or an older version made it.
    """
    where = Location(str(folder / REPORT))
    if not (folder / REPORT).is_file():
        raise SpecError(Problem("there is no report of a build here", "run `onnxpack build` first", where))
    report = read_report(folder / REPORT)
    if report["status"] != PASSED:
        raise SpecError(Problem("this build failed", "mend what its report tells, and build again", where))
    if not isinstance(report.get("serving"), dict):
        hint = "build it without `--until` or at least to `bundle`, with this version of onnxpack"
        raise SpecError(Problem("this build says nothing of how its image serves", hint, where))
    try:
        return _make_build(folder, report)
    except (msgspec.ValidationError, LookupError, TypeError, AttributeError) as error:
        hint = "it was changed, or another version of onnxpack made it: build again"
        raise SpecError(Problem(f"the report is not what a build leaves: {error}", hint, where)) from None


def _make_build(folder: Path, report: Mapping[str, Any]) -> Build:
    model = report["model"]
    axes = [{"name": name, **sizes} for name, sizes in model["axes"].items()]
    pushed = (report["image"] or {}).get("pushed")
    return Build(
        folder,
        report["name"],
        report["target"],
        msgspec.convert(report["version"], str),
        msgspec.convert(report["serving"], Serving),
        msgspec.convert(model["inputs"], tuple[TensorInfo, ...]),
        msgspec.convert(model["outputs"], tuple[TensorInfo, ...]),
        msgspec.convert(axes, tuple[Axis, ...]),
        parse_reference(pushed) if pushed else None,
        _read_figures(report.get("smoke")),
    )


def _read_figures(smoke: Mapping[str, Any] | None) -> Figures:
    """Return the figures of a smoke test; those of an emulator say nothing of the machines that will serve."""
    if not smoke or smoke["emulated"]:
        return Figures(None, None, None)
    load = msgspec.convert(smoke.get("load"), Load | None)
    if load:
        _check_load(load)
    peaks = [smoke["peak_rss_bytes"], *((smoke["soak"]["peak_rss_bytes"],) if smoke["soak"] else ())]
    peaks += [point.rss_bytes for point in load.points] if load else []
    known = [msgspec.convert(peak, _Count) for peak in peaks if peak is not None]
    return Figures(msgspec.convert(smoke["ready_seconds"], _Seconds | None), max(known, default=None), load)


def _check_load(load: Load) -> None:
    """Check that figures can be reckoned with: the report may come from anywhere.

    Raises:
        ValidationError: they cannot.
    """
    edges, counts = load.histogram.edges_seconds, load.histogram.counts
    figures = [load.cpu_seconds, load.other_cpus, *edges, *counts, *(point.rate for point in load.points)]
    figures += [time for point in load.points for time in (point.p50_seconds, point.p90_seconds, point.p99_seconds)]
    sound = (
        all(0 <= figure < _MOST for figure in figures)
        and any(point.rate > 0 for point in load.points)
        and all(point.clients > 0 for point in load.points)
        and load.cores > 0
        and len(edges) == len(counts) + 1
        and edges[0] > 0
        and all(low < high for low, high in itertools.pairwise(edges))
        and sum(counts) > 0
    )
    if not sound:
        raise msgspec.ValidationError("the figures of `smoke.load` are none that can be measured")
