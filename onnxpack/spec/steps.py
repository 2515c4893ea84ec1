"""The steps of ``preprocess`` and ``postprocess``: ONNX nodes in front of and behind the model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from onnxpack.spec.constraints import Between
from onnxpack.spec.field_types import Dtype, FilePath, Positive, TensorName, described


@dataclass(frozen=True)
class PreprocessStep:
    """One step between what a client sends and what the model takes."""

    op: Literal["normalize", "scale", "cast", "layout", "resize"] = described("What is done.", example="normalize")
    input: TensorName = described("The input that it is done to.", example="image")
    mean: tuple[float, ...] | None = described(
        "normalize: subtracted, per channel.", None, example="[0.485, 0.456, 0.406]"
    )
    std: tuple[float, ...] | None = described(
        "normalize: divided by, per channel.", None, example="[0.229, 0.224, 0.225]"
    )
    scale: float | None = described("normalize, scale: divided by first.", None, example="255")
    dtype: Dtype | None = described("cast: what the client sends.", None, example="uint8")
    layout: Literal["NHWC", "NCHW"] | None = described("layout: what the client sends.", None, example="NHWC")
    size: tuple[Positive, ...] | None = described(
        "resize: height and width that the model takes.", None, example="[224, 224]"
    )


@dataclass(frozen=True)
class PostprocessStep:
    """One step between what the model gives and what a client gets."""

    op: Literal["sigmoid", "softmax", "argmax", "topk", "labels", "scale"] = described(
        "What is done.", example="softmax"
    )
    input: TensorName = described("The output that it is done to.", example="logits")
    output: TensorName | None = described(
        "The new output's name; left out: it takes the place.", None, example="probability"
    )
    axis: Annotated[int, Between(-8, 7)] | None = described(
        "softmax, argmax, topk: along which axis.", None, example="-1"
    )
    k: Positive | None = described("topk: how many.", None, example="5")
    labels: FilePath | None = described("labels: a text file, one label a line.", None, example="labels.txt")
    factor: float | None = described("scale: multiplied by.", None, example="100")
