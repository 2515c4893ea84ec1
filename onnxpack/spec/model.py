"""What a spec is: every field with its type, default and meaning.

The types carry all that the decoder checks (``onnxpack.spec.decode``): a field's annotation says what is allowed,
its ``metadata["doc"]`` what it means. A field or value that a later release delivers is marked, and refused.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, Literal

from onnxpack.spec.markers import Between, Later, Pattern, Size
from onnxpack.values import Axis, TensorInfo

FORMAT = 1
DEFAULT_OPSET = 18
"""Used where a model is converted; torch's own operator library is written for it."""


def described(doc: str, default: Any = MISSING, *, factory: Any = MISSING, later: bool = False) -> Any:
    """A field of the spec; ``later`` marks one whose stage is still to come."""
    metadata = {"doc": doc, "later": later}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


Word = Annotated[
    str,
    Pattern(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "lower-case letters, digits and inner hyphens, at most 63"),
]
Tag = Annotated[str, Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", "an image tag: letters, digits, '_', '.', '-'")]
TensorName = Annotated[str, Pattern(r"[^\x00-\x1f\x7f]{1,200}", "at most 200 printable characters")]
AxisName = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]{0,62}", "letters, digits and '_', not first a digit")]
Text = Annotated[str, Pattern(r"[^\x00-\x08\x0b-\x1f\x7f]{0,2000}", "at most 2000 characters, no control characters")]
Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}", "64 lower-case hex digits")]
Positive = Annotated[int, Between(1, 2**31 - 1)]
Dtype = Literal[
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
]


@dataclass(frozen=True)
class Model:
    """The source model: code and weights (torch), or one file."""

    framework: Annotated[
        Literal["torch", "sklearn", "onnx", "lightgbm", "xgboost", "catboost", "keras"],
        Later("lightgbm", "xgboost", "catboost", "keras"),
    ] = described("What made the model.")
    factory: Annotated[str, Pattern(r"[^:\s]+:[A-Za-z_][\w.]*", "FILE.py:NAME or package.module:NAME")] | None = (
        described("torch: FILE.py:NAME or package.module:NAME, called with kwargs; gives an nn.Module.", None)
    )
    kwargs: Mapping[str, Any] = described("torch: keyword arguments of the factory.", factory=dict)
    weights: str | None = described("torch: a .safetensors file, or a state dict (.pt .pth .ckpt .bin).", None)
    weights_key: str | None = described("torch: where in the checkpoint the state dict is, as a.b.c.", None)
    prepare: Annotated[str, Pattern(r"[^:\s]+:[A-Za-z_][\w.]*", "FILE.py:NAME or package.module:NAME")] | None = (
        described("torch: nn.Module -> nn.Module, called before export.", None)
    )
    exporter: Literal["dynamo", "torchscript"] = described("torch: which of its two exporters.", "dynamo")
    path: str | None = described("sklearn, onnx: the model's file.", None)
    sha256: Sha256 | None = described("The file's digest; required where loading the file can run code.", None)
    requirements: tuple[str, ...] = described("Exact pins of an isolated export environment.", (), later=True)


@dataclass(frozen=True)
class Input:
    """One input: its dtype, its shape, and what its samples look like."""

    dtype: Dtype = described("The element type.")
    shape: tuple[Annotated[int, Between(0, 2**31 - 1)] | AxisName, ...] = described(
        "Sizes in order; a name is a dynamic axis."
    )
    range: tuple[float, ...] | None = described("[low, high] of the samples, both included.", None)
    choices: tuple[int | float | Text, ...] | None = described("What samples are drawn from, instead of a range.", None)


@dataclass(frozen=True)
class AxisRange:
    """The sizes of a dynamic axis that the model is verified for and serves."""

    max: Positive = described("The largest size.")
    min: Annotated[int, Between(0, 2**31 - 1)] = described("The smallest size.", 1)
    opt: Positive | None = described("The usual size; left out: between the two.", None)

    shorthand = ("min", "max")
    """``[1, 512]`` is short for ``{min: 1, max: 512}``."""


@dataclass(frozen=True)
class Verify:
    """How the exported model is compared with its source."""

    rtol: Annotated[float, Between(0, 1)] | None = described("Relative tolerance; default by precision.", None)
    atol: Annotated[float, Between(0, 1e6)] | None = described("Absolute tolerance; default by precision.", None)
    samples: str | None = described("An .npz of real inputs, arrays by input name.", None)
    seed: Annotated[int, Between(0, 2**32 - 1)] = described("Of the random samples.", 0)


@dataclass(frozen=True)
class Target:
    """One image: where it is to run."""

    device: Literal["cpu", "cuda"] = described("The hardware that serves.", "cpu")
    precision: Annotated[
        Literal[
            "float32", "float16", "bfloat16", "int8-dynamic", "int8-static", "int4-weights", "int8-weights", "auto"
        ],
        Later("float16", "bfloat16", "int8-dynamic", "int8-static", "int4-weights", "int8-weights", "auto"),
    ] = described("The arithmetic of the shipped model.", "float32")
    optimize: Annotated[Literal["none", "basic", "extended", "all"], Later("basic", "extended", "all")] = described(
        "Offline graph optimisation.", "none"
    )
    platform: Annotated[Literal["linux/amd64", "linux/arm64"], Later("linux/arm64")] = described(
        "Of the machines that serve.", "linux/amd64"
    )
    isa: str | None = described("The instruction set of the machines that serve.", None, later=True)
    threads: Positive | None = described("Overrides runtime.threads.", None)
    exclude_nodes: tuple[str, ...] = described("Nodes left in float32.", (), later=True)
    per_channel: bool | None = described("Quantize each channel by itself.", None, later=True)


@dataclass(frozen=True)
class Runtime:
    """How the image serves."""

    server: Annotated[Literal["none", "http", "http+grpc"], Later("http+grpc")] = described(
        "The server in the image; none leaves a command line.", "http"
    )
    port: Annotated[int, Between(1, 65535)] = described("The HTTP port.", 8080)
    threads: Positive | Literal["auto"] = described("auto reads the container's CPU quota.", "auto")
    max_body: Annotated[int, Size(1024, 2**40)] = described("The largest request body.", 64 * 2**20)
    warmup: bool = described("Run once before the image says that it is ready.", True)
    batching: Any = described("Dynamic batching.", None, later=True)
    max_queue: int | None = described("Requests that may wait.", None, later=True)


@dataclass(frozen=True)
class Image:
    """The image's name, base and texts."""

    repository: Annotated[str, Pattern(r"[a-z0-9]+([._:/-]{1,2}[a-z0-9]+)*", "an image name without a tag")] | None = (
        described("Registry and name; left out: the spec's name.", None)
    )
    base: Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}", "an image reference")] | None = described(
        "Any image with the right Python; default by target.", None
    )
    python: Literal["3.11", "3.12", "3.13", "3.14"] = described("The base image's Python.", "3.11")
    labels: Mapping[str, Text] = described("Labels added to the image.", factory=dict)
    env: Mapping[Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")], Text] = described(
        "Environment variables of the image.", factory=dict
    )


@dataclass(frozen=True)
class Spec:
    """One model, ready to be packed."""

    onnxpack: Annotated[int, Between(FORMAT, FORMAT)] = described("The version of this format: 1.")
    name: Word = described("Names the image and the output folder.")
    model: Model = described("The source model.")
    inputs: Mapping[TensorName, Input] = described("In the order of the model's positional arguments.")
    version: Tag | None = described("The image's tag; left out: from the build's content.", None)
    description: Text = described("One sentence for people.", "")
    extends: str | None = described("Defaults from another spec file.", None, later=True)
    outputs: tuple[TensorName, ...] = described("Names in order; left out: the model's own.", ())
    dynamic_axes: Mapping[AxisName, AxisRange] = described("Every axis name used in a shape.", factory=dict)
    opset: Annotated[int, Between(7, 26)] | None = described("What the shipped model has.", None)
    verify: Verify = described("The comparison with the source.", factory=Verify)
    calibration: Any = described("Data for static quantization.", None, later=True)
    evaluation: Any = described("Data and metric of the accuracy gate.", None, later=True)
    preprocess: Any = described("ONNX nodes in front of the model.", None, later=True)
    postprocess: Any = described("ONNX nodes behind the model.", None, later=True)
    targets: Mapping[Word, Target] = described("One image each.", factory=lambda: {"cpu": Target()})
    gates: Any = described("Limits that fail the build.", None, later=True)
    runtime: Runtime = described("How the image serves.", factory=Runtime)
    image: Image = described("The image's name, base and texts.", factory=Image)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dynamic axes, with ``opt`` filled in."""
        return tuple(
            Axis(name, axis.min, axis.opt or min(max(axis.min, 8), axis.max), axis.max)
            for name, axis in self.dynamic_axes.items()
        )

    @property
    def input_infos(self) -> tuple[TensorInfo, ...]:
        """What the shipped model's inputs must be."""
        return tuple(TensorInfo(name, tensor.dtype, tensor.shape) for name, tensor in self.inputs.items())
