"""Triton: a folder of a model repository, with the model as it ships and a configuration of its verified axes."""

from dataclasses import dataclass
from functools import cached_property

from onnxpack.bundle.context import model_files
from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.values import MODEL, Axis, TensorInfo
from onnxpack.deploy.builds import Build
from onnxpack.deploy.formats import Manifests, Wanted
from onnxpack.deploy.render import render
from onnxpack.deploy.sizing import Sizing

TITLE = "a model repository's folder, without the image"
_CONFIG = "config.pbtxt"
_VERSION = "1"
_MICROSECONDS = 1_000_000


def make(wanted: Wanted) -> Manifests:
    """Return the configuration, and the model with its external data."""
    build = wanted.build
    if not build.model.is_file():
        hint = "build it again: the model lies beside the report"
        raise SpecError(Problem(f"{build.label}: '{build.model}' is missing", hint))
    copies = {f"{_VERSION}/{path.name}": path for path in model_files(build.model)}
    text = render(_CONFIG, view=ConfigView(build, wanted.sizing))
    return Manifests(build.name, {_CONFIG: text}, copies)


@dataclass(frozen=True)
class Tensor:
    """An input or output as Triton describes it: without the batch axis, and without axes at all by a detour."""

    name: str
    kind: str
    dims: tuple[int, ...]
    scalar: bool
    """Triton wants one axis at least: the one of size 1 goes before the model sees it."""
    usual: tuple[int, ...]
    """The sizes that are usual."""


@dataclass(frozen=True)
class ConfigView:
    """What ``config.pbtxt`` says."""

    build: Build
    sizing: Sizing

    @property
    def batch(self) -> Axis | None:
        """Return the axis of the rows, which Triton takes for one that may have a single row."""
        axis = self.build.batch
        return axis if axis and axis.min <= 1 else None

    @property
    def model_file(self) -> str:
        """Return the name of the model's file."""
        return MODEL

    @property
    def max_batch_size(self) -> int:
        """Return the largest batch that was verified; 0 of a model whose tensors do not all begin with one axis."""
        return self.batch.max if self.batch else 0

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Return the inputs."""
        return tuple(map(self._describe, self.build.inputs))

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return the outputs."""
        return tuple(map(self._describe, self.build.outputs))

    @property
    def batches(self) -> bool:
        """Return whether requests of several clients may run as one: the spec asks for it, and the build proved it."""
        return bool(self.build.serving.max_batch_size and self.batch)

    @property
    def preferred_batch_size(self) -> int:
        """Return the rows that a batch of several requests should have."""
        return min(self.build.serving.max_batch_size or 1, self.max_batch_size)

    @property
    def queue_microseconds(self) -> int:
        """Return how long a request may wait for others."""
        return round(self.build.serving.max_queue_delay_seconds * _MICROSECONDS)

    @property
    def instance_kind(self) -> str:
        """Return where the model runs."""
        return "KIND_GPU" if self.build.serving.gpu else "KIND_CPU"

    @property
    def warmup_batch(self) -> int:
        """Return the usual number of rows."""
        return self.batch.opt if self.batch else 0

    def _describe(self, info: TensorInfo) -> Tensor:
        shape = info.shape[1:] if self.batch else info.shape
        usual = {axis.name: axis.opt for axis in self.build.axes}
        dims = tuple(size if isinstance(size, int) else -1 for size in shape)
        # An output may have an axis that no input declares: it is never asked for.
        sizes = tuple(size if isinstance(size, int) else usual.get(size, 1) for size in shape)
        return Tensor(info.name, _name_type(info.dtype), dims or (1,), not dims, sizes or (1,))


def _name_type(dtype: str) -> str:
    """Return Triton's word for a dtype of the spec."""
    kind = dtype.upper().replace("BFLOAT", "BF").replace("FLOAT", "FP")
    return f"TYPE_{kind}"
