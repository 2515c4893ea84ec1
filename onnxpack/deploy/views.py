"""The values that the templates of manifests show, worked out from a build and from what its Pods need."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from onnxpack.bundle.render import HEALTHCHECK, USER
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.text import format_time
from onnxpack.deploy.builds import Build
from onnxpack.deploy.names import make_label
from onnxpack.deploy.sizing import Sizing
from onnxpack.oci.config import Healthcheck
from onnxpack.oci.reference import ImageReference

_PRE_STOP = 5
"""Seconds before SIGTERM in which Services take a Pod out of their lists: the server refuses new requests at once."""
_AFTER_DRAIN = 5
"""Seconds for a server that has drained to end, as its supervisor gives to workers."""
_STARTS, _FEWEST_STARTS = 20, 60
"""A Pod has so many times the measured start, and so many seconds at least, until it counts as failed."""
_UNKNOWN_STARTS = 600
_NFD = "feature.node.kubernetes.io/cpu-cpuid."
_VNNI = ("AVX512VNNI", "AVXVNNI")
_FEATURES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "avx2": (("AVX2",), _VNNI),
    "avx512": (("AVX512F",), _VNNI),
    "avx-vnni": (("AVXVNNI",), ()),
    "avx512-vnni": (("AVX512VNNI",), ()),
    "amx": (("AMXINT8",), ()),
    "neon": ((), ()),
    "neon-dotprod": (("ASIMDDP",), ()),
    "neon-i8mm": (("I8MM",), ()),
}
"""What Node Feature Discovery calls what a node must have, and what it must not, for each ``isa`` of a target: 8-bit
arithmetic gives other numbers with VNNI than without."""


@dataclass(frozen=True)
class Port:
    """A port of the server, with the name of what is spoken there."""

    name: str
    number: int


@dataclass(frozen=True)
class Requirement:
    """What the labels of a node must say."""

    key: str
    operator: str
    value: str = ""


@dataclass(frozen=True)
class PodView:
    """What the Pods of a build look like."""

    build: Build
    sizing: Sizing
    image: ImageReference
    """By digest."""

    @property
    def name(self) -> str:
        """Return the name of all resources."""
        return self.build.resource

    @property
    def selector(self) -> dict[str, str]:
        """Return the labels that Services and controllers find Pods by; they never change."""
        return {"app.kubernetes.io/name": make_label(self.build.name), "app.kubernetes.io/instance": self.name}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of every resource; the version's is left out where no label can hold it."""
        version = make_label(self.build.version)
        shown = {"app.kubernetes.io/version": version} if version else {}
        return self.selector | shown | {"app.kubernetes.io/component": "model-server"}

    @property
    def reference(self) -> str:
        """Return the image as a runtime is asked for it."""
        return str(self.image)

    @property
    def digest(self) -> str:
        """Return the digest of the image."""
        return self.image.digest or ""

    @property
    def ports(self) -> tuple[Port, ...]:
        """Return the ports of the server, that of HTTP first."""
        names = ("http", "grpc")
        return tuple(Port(name, port) for port, name in zip(self.build.serving.ports, names, strict=False))

    @property
    def user(self) -> int:
        """Return the user of the image's processes."""
        return int(USER.partition(":")[0])

    @property
    def group(self) -> int:
        """Return their group."""
        return int(USER.partition(":")[2])

    @property
    def pre_stop(self) -> int:
        """Return the seconds between a Pod's removal from Services and SIGTERM."""
        return _PRE_STOP

    @property
    def stop_seconds(self) -> int:
        """Return the seconds that a server may take to end behind SIGTERM."""
        return math.ceil(self.build.serving.drain_seconds) + _AFTER_DRAIN

    @property
    def startup_failures(self) -> int:
        """Return how often, a second apart, a Pod may be asked in vain whether it has started."""
        measured = self.build.figures.ready_seconds
        return _UNKNOWN_STARTS if measured is None else max(math.ceil(measured * _STARTS), _FEWEST_STARTS)

    @property
    def architecture(self) -> str:
        """Return the kind of nodes, as ``kubernetes.io/arch`` names it."""
        return self.build.serving.platform.partition("/")[2]

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Return what nodes must have for the numbers to be those that were verified; empty where all nodes do."""
        needed, unwanted = _FEATURES.get(self.build.serving.isa or "", ((), ()))
        found = [Requirement(_NFD + name, "In", "true") for name in needed]
        return (*found, *(Requirement(_NFD + name, "DoesNotExist") for name in unwanted))

    @property
    def gpu(self) -> bool:
        """Return whether a Pod needs a GPU."""
        return self.build.serving.gpu

    @property
    def cpu_request(self) -> str:
        """Return the requested CPU as Kubernetes writes it."""
        return f"{self.sizing.cpu_request}m" if self.sizing.cpu_request % 1000 else str(self.sizing.cpu_request // 1000)

    @property
    def cpu_share(self) -> str:
        """Return the requested CPU in CPUs, as Compose writes it."""
        return f"{self.sizing.cpu_request / 1000:g}"

    @property
    def healthcheck(self) -> Healthcheck:
        """Return the check that the image has, too."""
        return HEALTHCHECK

    @property
    def threads_text(self) -> str:
        """Return where the number of threads comes from."""
        many = "thread" if self.sizing.threads == 1 else "threads"
        where = "from the CPU limit" if self.build.serving.threads is None else "as the spec says"
        each = "" if self.build.serving.workers == 1 else f" in each of {self.build.serving.workers} workers"
        return f"{self.sizing.threads} {many}{each}, {where}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the figures are made of, and what makes them less than they say."""
        sizing = self.sizing
        if sizing.planned_rate is None or sizing.capacity is None or sizing.planned_p99 is None:
            return sizing.notes
        words = (
            f"One container answered {sizing.capacity:,.0f} requests/s at most; planned are "
            f"{sizing.planned_rate:,.0f}, with a predicted p99 of {format_time(sizing.planned_p99)}."
        )
        return (words, *sizing.notes)


def make_view(build: Build, sizing: Sizing, image: ImageReference | None) -> PodView:
    """Return what the Pods of a build look like; ``image`` stands for one that the report does not know.

    Raises:
        SpecError: there is no server in the image, or nobody knows the image by its digest.
    """
    if not build.serving.ports:
        hint = "set `runtime.server` in the spec, or take --format triton, which needs none"
        raise SpecError(f"{build.label}: its image has no server", hint)
    return PodView(build, sizing, require_image(build, image))


def require_image(build: Build, image: ImageReference | None) -> ImageReference:
    """Return the image of a build by its digest: ``image``, else what its report says.

    Raises:
        SpecError: it was not pushed.
    """
    found = image or build.pushed
    if found is None or found.digest is None:
        repository = build.serving.image.rpartition(":")[0]
        hint = f"build it with --push, or push it and name what that printed: --image {repository}@sha256:…"
        raise SpecError(Problem(f"{build.label}: the image was not pushed by its build, so it has no digest", hint))
    return found.at(found.digest)
