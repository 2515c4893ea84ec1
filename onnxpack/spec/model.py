"""What a spec is: every field with its type, default, meaning and an example.

The types carry all that the decoder checks (``onnxpack.spec.decode``): a field's annotation says what is allowed, its
``metadata["doc"]`` what it means. A field or value that a later release delivers is marked, checked, and refused.
The JSON Schema and docs/spec.md are made from the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from onnxpack.core.values import Axis, TensorInfo
from onnxpack.spec.choices import Framework
from onnxpack.spec.constraints import Between
from onnxpack.spec.delivery import Gates, Image, Runtime, Target
from onnxpack.spec.field_types import (
    AxisName,
    CodeReference,
    Dtype,
    FilePath,
    Pin,
    Positive,
    Ratio,
    Sha256,
    Tag,
    TensorName,
    Text,
    TopMetric,
    Word,
    described,
)
from onnxpack.spec.steps import PostprocessStep, PreprocessStep

FORMAT = 1
NO_WEIGHTS = "none"
"""The word in `model.weights` for a factory whose own parameters are meant, random or not."""
DEFAULT_OPSET = 18
"""Used where a model is converted; torch's own operator library is written for it."""
METRICS_OF_NUMBERS = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "r2": "r2_score"}
"""The metrics that compare numbers and not classes, each with the name of scikit-learn's function."""
LOWER_IS_BETTER = ("mse", "mae")


@dataclass(frozen=True)
class Model:
    """The source model: code and weights (torch), or one file."""

    framework: Framework = described("What made the model.", example="torch")
    factory: CodeReference | None = described(
        "torch, keras: FILE.py:NAME or package.module:NAME, called with kwargs; gives an nn.Module or a keras.Model.",
        None,
        example="model.py:TransactionNet",
    )
    kwargs: Mapping[str, Any] = described(
        "torch, keras: keyword arguments of the factory.", factory=dict, example="{vocab_size: 40000}"
    )
    weights: Literal["none"] | FilePath | None = described(
        "torch: a .safetensors file, a state dict (.pt .pth .ckpt .bin) loaded with weights_only, or the index of a "
        "sharded one (.index.json); keras: .weights.h5; or its URL; or none: the factory's own parameters are meant. "
        "Left out: they are too, but random ones are an error.",
        None,
        example="weights/transactions.safetensors",
    )
    weights_key: Text | None = described(
        "torch: where in a checkpoint the state dict is, as a.b.c; the last words may be a prefix of its keys.",
        None,
        example="checkpoint.model",
    )
    prepare: CodeReference | None = described(
        "torch, keras: from a model to the model that is exported (fuse layers, drop heads). The export is judged "
        "against the model before it, where the outputs of both agree in number, dtype and shape.",
        None,
        example="model.py:fuse",
    )
    exporter: Literal["dynamo", "torchscript"] | None = described(
        "torch: which of its two exporters. Left out: dynamo; where it fails, cannot make the opset or answers "
        "otherwise, torchscript, unless that would freeze what depends on data.",
        None,
        example="torchscript",
    )
    path: FilePath | None = described(
        "sklearn, xgboost, lightgbm, catboost, onnx: the model's file; torch: a whole model (TorchScript, "
        "torch.export, a saved module); keras: .keras, .h5, or the saved_model.pb of a SavedModel; or its URL: https, "
        "s3, gs, hf, file.",
        None,
        example="iris.joblib",
    )
    sha256: Sha256 | None = described(
        "The file's digest; required for a URL, and where loading the file can run code (pickle, joblib, whole torch "
        "models, .h5, SavedModels). Without it the error prints the file's digest, ready to paste.",
        None,
        example="6f22e5054846dc917af34969df6651d28169192eb58525d7285e46da17de983c",
    )
    requirements: tuple[Pin, ...] = described(
        "Exact pins: the model is loaded, run and exported in an environment of its own with these packages. What else "
        "the export needs is added, in versions that fit.",
        (),
        example="[scikit-learn==1.5.2]",
    )

    @property
    def weights_file(self) -> str | None:
        """The path or URL of the weights; None where the spec names none, or says `none`."""
        return None if self.weights == NO_WEIGHTS else self.weights


@dataclass(frozen=True)
class Column:
    """What the samples of one column look like."""

    range: tuple[int | float, ...] | None = described("[low, high], both included.", None, example="[0, 120]")
    choices: tuple[bool | int | float | Text, ...] | None = described(
        "What samples are drawn from, instead of a range.", None, example="[0, 1, 2]"
    )
    integers: bool = described("Floats that are whole numbers.", False, example="true")


@dataclass(frozen=True)
class Input:
    """One input: its dtype, its shape, and what its samples look like."""

    dtype: Dtype = described("The element type.", example="float32")
    shape: tuple[Annotated[int, Between(0, 2**31 - 1)] | AxisName, ...] = described(
        "Sizes in order; a name is a dynamic axis.", example="[batch, 4]"
    )
    range: tuple[int | float, ...] | None = described(
        "[low, high] of the samples, both included. Left out: normal floats, integers from 0 to 9.",
        None,
        example="[0, 39999]",
    )
    choices: tuple[bool | int | float | Text, ...] | None = described(
        "What samples are drawn from, instead of a range.", None, example="[0, 1, 2]"
    )
    columns: tuple[Column, ...] = described(
        "A range or choices for each column: one entry for each place along the last axis, in order.",
        (),
        example="[{range: [0, 120]}, {choices: [0, 1]}]",
    )
    integers: bool = described("Floats that are whole numbers; without a range, from 0 to 9.", False, example="true")
    at_least_one: bool = described(
        "No sample has a row along the last axis that is zero (false) throughout, as a mask.", False, example="true"
    )


@dataclass(frozen=True)
class AxisRange:
    """The sizes of a dynamic axis that the model is verified for and serves."""

    max: Positive = described("The largest size.", example="64")
    min: Annotated[int, Between(0, 2**31 - 1)] = described("The smallest size.", 1, example="1")
    opt: Positive | None = described("The usual size; left out: 8, or the limit nearest to it.", None, example="8")

    shorthand = ("min", "max")
    """``[1, 512]`` is short for ``{min: 1, max: 512}``."""


@dataclass(frozen=True)
class Verify:
    """How the exported model is compared with its source."""

    rtol: Ratio | None = described(
        "Relative tolerance; left out: by dtype and precision, float32 1e-3.", None, example="1.0e-3"
    )
    atol: Annotated[float, Between(0, 1e6)] | None = described(
        "Absolute tolerance; left out: by dtype and precision, float32 1e-4.", None, example="1.0e-4"
    )
    samples: FilePath | None = described(
        "An .npz of real inputs, arrays by input name; compared besides the random ones.", None, example="samples.npz"
    )
    seed: Annotated[int, Between(0, 2**32 - 1)] = described("Of the random samples.", 0, example="7")
    random: bool = described(
        "Compare random and searched inputs too; false: verify.samples alone. The export is traced with random ones.",
        True,
        example="false",
    )


@dataclass(frozen=True)
class Calibration:
    """What static quantization learns its ranges from."""

    data: FilePath = described(
        "An .npz of inputs, arrays by input name; or FILE.py:NAME, a function that gives or yields dicts of arrays.",
        example="calibration.npz",
    )
    samples: Positive = described("How many of them.", 256, example="128")
    method: Literal["minmax", "entropy", "percentile"] = described(
        "How ranges are chosen.", "minmax", example="entropy"
    )


@dataclass(frozen=True)
class Evaluation:
    """How good the model is, by the user's own measure."""

    data: FilePath = described(
        "An .npz of inputs and labels; or FILE.py:NAME, a function that gives or yields dicts of arrays.",
        example="validation.npz",
    )
    labels: TensorName | None = described("The array of right answers in it.", None, example="y")
    classes: tuple[int | Text, ...] | None = described(
        "The labels in the order of the model's columns of scores; left out: the labels are the columns' numbers, from "
        "0, or the model gives predictions.",
        None,
        example="[setosa, versicolor]",
    )
    metric: Literal["accuracy", "f1", "auc", "mse", "mae", "r2", "top-k"] | TopMetric | CodeReference = described(
        "A built-in metric (top-k is top-5; top-3 and the like are known too), or FILE.py:NAME, called with outputs "
        "and labels: it gives a number, the higher the better.",
        "accuracy",
        example="metrics.py:benefit",
    )


@dataclass(frozen=True)
class Spec:
    """One model, ready to be packed."""

    onnxpack: Annotated[int, Between(FORMAT, FORMAT)] = described("The version of this format: 1.", example="1")
    name: Word = described("Names the image and the output folder.", example="transactions")
    model: Model = described("The source model.", example="{framework: onnx, path: model.onnx}")
    inputs: Mapping[TensorName, Input] = described(
        "By name, in the order of the model's positional arguments.", example="{x: {dtype: float32, shape: [batch, 4]}}"
    )
    version: Tag | None = described(
        "The image's tag; left out: the first 12 hex digits of the build's content key.", None, example='"1.4.0"'
    )
    description: Text = described("One sentence for people.", "", example="Fraud score per account")
    extends: FilePath | None = described(
        "Defaults from another spec file: mappings merge, everything else replaces. Its paths, too, are relative to "
        "the spec that is built.",
        None,
        example="../base.yaml",
    )
    outputs: tuple[TensorName, ...] = described(
        "Names in order; left out: the model's own.", (), example="[label, probabilities]"
    )
    dynamic_axes: Mapping[AxisName, AxisRange] = described(
        "Every axis name used in a shape, with its sizes.", factory=dict, example="{batch: {min: 1, opt: 8, max: 64}}"
    )
    opset: Annotated[int, Between(7, 26)] | None = described(
        "What the shipped model really has; anything else fails the build. Left out: 18, or an ONNX file's own if that "
        "is 7 or more.",
        None,
        example="17",
    )
    verify: Verify = described("The comparison with the source.", factory=Verify, example="{rtol: 1.0e-3}")
    calibration: Calibration | None = described(
        "Data for static quantization.", None, example="{data: calibration.npz}"
    )
    evaluation: Evaluation | None = described(
        "Data and metric of the accuracy gate.", None, example="{data: validation.npz, labels: y}"
    )
    preprocess: tuple[PreprocessStep, ...] = described(
        "ONNX nodes in front of the model, so that every runtime does the same.",
        (),
        example="[{op: scale, input: image, scale: 255}]",
    )
    postprocess: tuple[PostprocessStep, ...] = described(
        "ONNX nodes behind the model.", (), example="[{op: sigmoid, input: logits}]"
    )
    targets: Mapping[Word, Target] = described(
        "One image each; the name is the tag's suffix.",
        factory=lambda: {"cpu": Target()},
        example="{cpu: {device: cpu}}",
    )
    gates: Gates | None = described("Limits that fail the build.", None, example="{image_size: 150MB}")
    runtime: Runtime = described("How the image serves.", factory=Runtime, example="{port: 8000}")
    image: Image = described("The image's name, base and texts.", factory=Image, example='{python: "3.13"}')

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The dynamic axes, with ``opt`` filled in."""
        return tuple(
            Axis(name, axis.min, axis.opt or min(max(axis.min, 8), axis.max), axis.max)
            for name, axis in self.dynamic_axes.items()
        )

    @property
    def first_size(self) -> int | str | None:
        """The size of every input's first axis, or its name if it is dynamic; None where they have none in common."""
        firsts = {tensor.shape[0] if tensor.shape else None for tensor in self.inputs.values()}
        return firsts.pop() if len(firsts) == 1 else None

    @property
    def input_infos(self) -> tuple[TensorInfo, ...]:
        """What the shipped model's inputs must be."""
        return tuple(TensorInfo(name, tensor.dtype, tensor.shape) for name, tensor in self.inputs.items())
