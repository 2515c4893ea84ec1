"""The fields of ``preprocess`` and ``postprocess`` steps, which become ONNX nodes around the model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from onnxpack.spec.constraints import Between
from onnxpack.spec.field_types import Dtype, FilePath, Positive, TensorName, describe_field


@dataclass(frozen=True)
class PreprocessStep:
    """One step that changes an input on its way from the client to the model."""

    op: Literal["normalize", "scale", "cast", "layout", "resize"] = describe_field(
        "The operation.", example="normalize"
    )
    input: TensorName = describe_field("The name of the input to change.", example="image")
    mean: tuple[float, ...] | None = describe_field(
        "normalize: subtract these values, one for each channel.", None, example="[0.485, 0.456, 0.406]"
    )
    std: tuple[float, ...] | None = describe_field(
        "normalize: divide by these values, one for each channel, after mean is subtracted.",
        None,
        example="[0.229, 0.224, 0.225]",
    )
    scale: float | None = describe_field(
        "normalize, scale: divide by this number, before anything else.", None, example="255"
    )
    dtype: Dtype | None = describe_field("cast: the dtype that the client sends.", None, example="uint8")
    layout: Literal["NHWC", "NCHW"] | None = describe_field(
        "layout: the order of axes that the client sends.", None, example="NHWC"
    )
    size: tuple[Positive, ...] | None = describe_field(
        "resize: the height and width that the model takes.", None, example="[224, 224]"
    )


@dataclass(frozen=True)
class PostprocessStep:
    """One step that changes an output on its way from the model to the client."""

    op: Literal["sigmoid", "softmax", "argmax", "topk", "labels", "scale"] = describe_field(
        "The operation.", example="softmax"
    )
    input: TensorName = describe_field("The name of the output to change.", example="logits")
    output: TensorName | None = describe_field(
        "The name of the result, which is added to the outputs; for topk the start of two names, with _values and "
        "_indices. Default: the result replaces the input.",
        None,
        example="probability",
    )
    axis: Annotated[int, Between(-8, 7)] | None = describe_field(
        "softmax, argmax, topk: the axis to compute along. Default: the last one.", None, example="-1"
    )
    k: Positive | None = describe_field("topk: how many of the largest values to return.", None, example="5")
    labels: FilePath | None = describe_field(
        "labels: a UTF-8 text file with one label per line; class numbers or scores are replaced by these labels.",
        None,
        example="labels.txt",
    )
    factor: float | None = describe_field("scale: multiply by this number.", None, example="100")
