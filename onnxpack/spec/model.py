"""The fields of a spec, each with its type, default, meaning and an example.

The types carry all that the decoder checks (``onnxpack.spec.decode``): a field's annotation says what is allowed, its
``metadata["doc"]`` what it means. A field or value that a later release delivers is marked, checked, and refused.
The JSON Schema and docs/spec.md are made from the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

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
    describe_field,
)
from onnxpack.spec.steps import PostprocessStep, PreprocessStep

FORMAT = 1
NO_WEIGHTS = "none"
"""The value of `model.weights` by which the parameters that the factory sets are used, even random ones."""
DEFAULT_OPSET = 18
"""The opset of converted models; torch's own operator library is written for it."""
METRICS_OF_NUMBERS = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "r2": "r2_score"}
"""The metrics of regression models, each with the name of scikit-learn's function."""
LOWER_IS_BETTER = ("mse", "mae")


Task: TypeAlias = Literal[
    "text-classification", "token-classification", "question-answering", "feature-extraction", "image-classification"
]
"""What a transformers model is for."""
Pooling: TypeAlias = Literal["mean", "cls", "max", "own", "none"]


@dataclass(frozen=True)
class Model:
    """The source model: code and weights (torch, keras), one file, or one folder (transformers)."""

    framework: Framework = describe_field("The framework that the source model was made with.", example="torch")
    factory: CodeReference | None = describe_field(
        "torch, keras: the function or class that makes the model, as FILE.py:NAME or package.module:NAME. It is "
        "called with kwargs and returns an nn.Module or a keras.Model.",
        None,
        example="model.py:TransactionNet",
    )
    kwargs: Mapping[str, Any] = describe_field(
        "torch, keras: the keyword arguments that the factory is called with.",
        factory=dict,
        example="{vocab_size: 40000}",
    )
    weights: Literal["none"] | FilePath | None = describe_field(
        "The path or URL of the weights that are loaded into the factory's model. torch: a .safetensors file, a "
        "state dict (.pt, .pth, .ckpt or .bin, loaded with weights_only=True), or the index of a sharded one "
        "(.index.json); keras: a .weights.h5 file. `none` keeps the parameters that the factory sets, even random "
        "ones; without this field they are kept too, but random ones are an error.",
        None,
        example="weights/transactions.safetensors",
    )
    weights_key: Text | None = describe_field(
        "torch: the path of the state dict inside a checkpoint, with dots between nested keys; its end may also be a "
        "prefix of the state dict's keys.",
        None,
        example="checkpoint.model",
    )
    prepare: CodeReference | None = describe_field(
        "torch, keras: a function that takes the model and returns the one to export, for example to fuse layers or "
        "drop heads. The export is compared with the model before this change if the outputs of both agree in "
        "number, dtype and shape.",
        None,
        example="model.py:fuse",
    )
    exporter: Literal["dynamo", "torchscript"] | None = describe_field(
        "torch, transformers: which of PyTorch's two ONNX exporters to use. Default: dynamo; if it fails, cannot make "
        "the opset or gives other outputs than the model, torchscript, unless tracing would freeze a branch that "
        "depends on data.",
        None,
        example="torchscript",
    )
    path: FilePath | None = describe_field(
        "The path or URL (https, s3, gs, hf, file) of the model's file. torch: a whole model (TorchScript, "
        "torch.export or a saved module); keras: a .keras or .h5 file, or the saved_model.pb of a SavedModel; "
        "transformers: the path of a folder as `save_pretrained` leaves it; all others: the saved model.",
        None,
        example="iris.joblib",
    )
    task: Task | None = describe_field(
        "transformers: what the model is for, which says how it is loaded and what its outputs are. Default: what the "
        "class in the folder's config.json is for.",
        None,
        example="text-classification",
    )
    pooling: Pooling | None = describe_field(
        "transformers, feature-extraction: how one vector is made of those of all tokens. mean and max leave padding "
        "out, cls takes the first token's, own is what the model itself gives (its pooler, or its projection), none "
        "keeps all tokens. Default: what the folder says if sentence-transformers saved it, own for a class "
        "…WithProjection, else none.",
        None,
        example="mean",
    )
    normalize: bool | None = describe_field(
        "transformers, feature-extraction: whether the vector is scaled to length 1. Default: what the folder says if "
        "sentence-transformers saved it, else false.",
        None,
        example="true",
    )
    sha256: Sha256 | None = describe_field(
        "The SHA-256 of the file in path or weights. Required for a URL, and for files that can run code when loaded "
        "(pickle, joblib, whole torch models, .h5, SavedModels); if it is missing, the error prints it for you to "
        "paste.",
        None,
        example="6f22e5054846dc917af34969df6651d28169192eb58525d7285e46da17de983c",
    )
    requirements: tuple[Pin, ...] = describe_field(
        "Exact versions of Python packages, for models that need other ones than those installed: the model is "
        "loaded, run and exported in a separate environment with them. What else the export needs is added in "
        "versions that fit.",
        (),
        example="[scikit-learn==1.5.2]",
    )

    @property
    def weights_file(self) -> str | None:
        """Return the path or URL of the weights; None if the spec names none, or says `none`."""
        return None if self.weights == NO_WEIGHTS else self.weights


@dataclass(frozen=True)
class Column:
    """The values of the samples in one column."""

    range: tuple[int | float, ...] | None = describe_field(
        "The lowest and the highest value, both included.", None, example="[0, 120]"
    )
    choices: tuple[bool | int | float | Text, ...] | None = describe_field(
        "The list of possible values, instead of a range.", None, example="[0, 1, 2]"
    )
    integers: bool = describe_field("Use whole numbers only, in an input with a float dtype.", False, example="true")


@dataclass(frozen=True)
class Input:
    """One input of the model: its dtype, its shape, and the values of its random samples."""

    dtype: Dtype = describe_field("The type of the elements.", example="float32")
    shape: tuple[Annotated[int, Between(0, 2**31 - 1)] | AxisName, ...] = describe_field(
        "The size of each axis in order; a name instead of a number makes the axis dynamic.", example="[batch, 4]"
    )
    range: tuple[int | float, ...] | None = describe_field(
        "The lowest and the highest value of random samples, both included. Default: normally distributed floats, "
        "integers from 0 to 9.",
        None,
        example="[0, 39999]",
    )
    choices: tuple[bool | int | float | Text, ...] | None = describe_field(
        "The list of values that random samples are drawn from, instead of a range.", None, example="[0, 1, 2]"
    )
    columns: tuple[Column, ...] = describe_field(
        "A range or choices for each column of a table: one item for each place along the last axis, in order.",
        (),
        example="[{range: [0, 120]}, {choices: [0, 1]}]",
    )
    integers: bool = describe_field(
        "Draw whole numbers only, for an input with a float dtype; without a range, from 0 to 9.", False, example="true"
    )
    missing: bool = describe_field(
        "Make some of the samples' values NaN, for a model that knows missing values.", False, example="true"
    )
    at_least_one: bool = describe_field(
        "Put at least one value other than 0 (or false) into each row along the last axis, as attention masks need.",
        False,
        example="true",
    )
    padding: Literal["right", "left"] | None = describe_field(
        "The input is a mask of padding: each row along the last axis has ones, at least one, and then zeros (right), "
        "or first zeros (left). Default: right for the mask of a tokenize step, or as its tokenizer says.",
        None,
        example="right",
    )


@dataclass(frozen=True)
class AxisRange:
    """The sizes of a dynamic axis for which the model is verified and served."""

    max: Positive = describe_field("The largest size.", example="64")
    min: Annotated[int, Between(0, 2**31 - 1)] = describe_field("The smallest size.", 1, example="1")
    opt: Positive | None = describe_field(
        "The usual size, at which speed is measured. Default: 8, or the limit nearest to 8.", None, example="8"
    )

    shorthand = ("min", "max")
    """``[1, 512]`` is short for ``{min: 1, max: 512}``."""


@dataclass(frozen=True)
class Verify:
    """How the exported model is compared with its source."""

    rtol: Ratio | None = describe_field(
        "The relative tolerance. Default: depends on dtype and precision; 1e-3 for float32.", None, example="1.0e-3"
    )
    atol: Annotated[float, Between(0, 1e6)] | None = describe_field(
        "The absolute tolerance. Default: depends on dtype and precision; 1e-4 for float32.", None, example="1.0e-4"
    )
    samples: FilePath | None = describe_field(
        "An .npz file of real inputs, one array for each input by its name, to compare besides the random ones.",
        None,
        example="samples.npz",
    )
    seed: Annotated[int, Between(0, 2**32 - 1)] = describe_field("The seed of the random samples.", 0, example="7")
    random: bool = describe_field(
        "Whether to compare on random inputs, and on ones that are searched for; false: on verify.samples only. The "
        "export itself is traced with random inputs either way.",
        True,
        example="false",
    )


@dataclass(frozen=True)
class Calibration:
    """The data from which static quantization learns the ranges of values."""

    data: FilePath = describe_field(
        "An .npz file with one array for each input by its name; or FILE.py:NAME (or package.module:NAME), a "
        "function that returns or yields dicts of such arrays.",
        example="calibration.npz",
    )
    samples: Positive = describe_field("How many rows of the data to use.", 256, example="128")
    method: Literal["minmax", "entropy", "percentile"] = describe_field(
        "How the range of each tensor is chosen from the values that it takes.", "minmax", example="entropy"
    )


@dataclass(frozen=True)
class Evaluation:
    """The data and the metric by which models are scored."""

    data: FilePath = describe_field(
        "An .npz file with an array for each input, and the labels; or FILE.py:NAME (or package.module:NAME), a "
        "function that returns or yields dicts of such arrays.",
        example="validation.npz",
    )
    labels: TensorName | None = describe_field(
        "The name of the array of labels (the right answers) in the data.", None, example="y"
    )
    classes: tuple[int | Text, ...] | None = describe_field(
        "The labels in the order of the model's columns of scores. Default: the labels are column numbers from 0, or "
        "the model predicts labels itself.",
        None,
        example="[setosa, versicolor]",
    )
    metric: Literal["accuracy", "f1", "auc", "mse", "mae", "r2", "top-k"] | TopMetric | CodeReference = describe_field(
        "A built-in metric (top-k means top-5; any top-N works), or FILE.py:NAME, a function of the outputs and the "
        "labels that returns a number, the higher the better.",
        "accuracy",
        example="metrics.py:benefit",
    )


@dataclass(frozen=True)
class Spec:
    """The whole spec of one model and its images."""

    onnxpack: Annotated[int, Between(FORMAT, FORMAT)] = describe_field(
        "The version of the spec format, always 1.", example="1"
    )
    name: Word = describe_field("The name of the image and of the output folder.", example="transactions")
    model: Model = describe_field("The model to export.", example="{framework: onnx, path: model.onnx}")
    inputs: Mapping[TensorName, Input] = describe_field(
        "The model's inputs by name, in the order of its positional arguments.",
        example="{x: {dtype: float32, shape: [batch, 4]}}",
    )
    version: Tag | None = describe_field(
        "The version in the image's tag. Default: the first 12 hex digits of a digest of all that the build reads.",
        None,
        example='"1.4.0"',
    )
    description: Text = describe_field(
        "One sentence about the model, for people.", "", example="Fraud score per account"
    )
    extends: FilePath | None = describe_field(
        "Another spec file to take defaults from: mappings are merged, everything else is replaced. Paths in it are "
        "relative to the spec that is built.",
        None,
        example="../base.yaml",
    )
    outputs: tuple[TensorName, ...] = describe_field(
        "The names of the model's outputs, in order. Default: the model's own names.",
        (),
        example="[label, probabilities]",
    )
    dynamic_axes: Mapping[AxisName, AxisRange] = describe_field(
        "The sizes of each axis that a shape names: its minimum, usual and maximum size.",
        factory=dict,
        example="{batch: {min: 1, opt: 8, max: 64}}",
    )
    opset: Annotated[int, Between(7, 26)] | None = describe_field(
        "The ONNX opset of the shipped model; the build fails if the model ends up with another. Default: 18, or an "
        "ONNX file's own opset if that is 7 or more.",
        None,
        example="17",
    )
    verify: Verify = describe_field(
        "How the exported model is compared with the source model.", factory=Verify, example="{rtol: 1.0e-3}"
    )
    calibration: Calibration | None = describe_field(
        "The data for static quantization.", None, example="{data: calibration.npz}"
    )
    evaluation: Evaluation | None = describe_field(
        "The data and the metric by which models are scored; gates on the score need it.",
        None,
        example="{data: validation.npz, labels: y}",
    )
    preprocess: tuple[PreprocessStep, ...] = describe_field(
        "Steps in front of the model, added to it as ONNX nodes, so that every runtime computes the same.",
        (),
        example="[{op: scale, input: image, scale: 255}]",
    )
    postprocess: tuple[PostprocessStep, ...] = describe_field(
        "Steps behind the model, added to it as ONNX nodes.", (), example="[{op: sigmoid, input: logits}]"
    )
    targets: Mapping[Word, Target] = describe_field(
        "The images to build, by name; the name is the suffix of the image's tag.",
        factory=lambda: {"cpu": Target()},
        example="{cpu: {device: cpu}}",
    )
    gates: Gates | None = describe_field(
        "Limits that every image must keep; a build that breaks one fails.", None, example="{image_size: 150MB}"
    )
    runtime: Runtime = describe_field("The server in the image.", factory=Runtime, example="{port: 8000}")
    image: Image = describe_field(
        "The image's name, base image, labels and variables.", factory=Image, example='{python: "3.13"}'
    )

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Return the dynamic axes, with defaults for ``opt``."""
        return tuple(
            Axis(name, axis.min, axis.opt or min(max(axis.min, 8), axis.max), axis.max)
            for name, axis in self.dynamic_axes.items()
        )

    @property
    def first_size(self) -> int | str | None:
        """Return the size or name of the first axis that all inputs have in common; None if they have none."""
        firsts = {tensor.shape[0] if tensor.shape else None for tensor in self.inputs.values()}
        return firsts.pop() if len(firsts) == 1 else None

    @property
    def row_axis(self) -> str | None:
        """Return the dynamic axis that is the first of every input and nowhere else: inputs can be split along it."""
        others = {size for tensor in self.inputs.values() for size in tensor.shape[1:]}
        name = self.first_size
        return name if isinstance(name, str) and name not in others else None

    @property
    def input_infos(self) -> tuple[TensorInfo, ...]:
        """Return the names, dtypes and shapes that the shipped model's inputs must have."""
        return tuple(TensorInfo(name, tensor.dtype, tensor.shape) for name, tensor in self.inputs.items())
