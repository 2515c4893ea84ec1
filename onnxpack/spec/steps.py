"""The fields of ``preprocess`` and ``postprocess`` steps, on a value's way from the client to the model and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from onnxpack.spec.constraints import Between
from onnxpack.spec.field_types import Dtype, FilePath, Positive, TensorName, Text, describe_field

NMS_OPSET = 11
"""The first opset that has all operators which nms needs."""
DatePart: TypeAlias = Literal[
    "year", "month", "day", "weekday", "yearday", "quarter", "week", "days", "hour", "minute", "second"
]
"""A part of a date: weekday from 0 (Monday) to 6, yearday from 1, week by ISO 8601, days since 1970-01-01."""


@dataclass(frozen=True)
class TableColumn:
    """One named column of a table that clients send, and what becomes of its values."""

    kind: Literal["number", "category", "text", "date"] = describe_field(
        "What the column holds: numbers, one of a few words, free text, or dates.", example="number"
    )
    to: TensorName | None = describe_field(
        "The model's input that the column feeds, where the table names no `input`. Default: the one with the column's "
        "name.",
        None,
        example="age",
    )
    missing: bool | int | float | Text | None = describe_field(
        "What the model gets for a missing value, which is null, an empty cell, NaN or an empty text: a number (NaN "
        "where the model knows it), a word, or a date. Default: a missing value is refused.",
        None,
        example="29.5",
    )
    categories: tuple[Text, ...] = describe_field(
        "category: the words that are known; a numeric input gets a word's place in this list, from 0.",
        (),
        example="[Lima, Oslo]",
    )
    unknown: int | float | Text | None = describe_field(
        "category: what the model gets for a word that is not among the categories: a word or a number, as it takes "
        "it, or one of the categories. Default: it is refused.",
        None,
        example="-1",
    )
    parts: tuple[DatePart, ...] = describe_field(
        "date: the parts of the date that the model takes, in order; with hour, minute or second a client's tensor has "
        "seconds instead of days since 1970-01-01. Default: days.",
        (),
        example="[year, month, weekday]",
    )
    range: tuple[Text, ...] | None = describe_field(
        "date: the first and the last date of random samples. Default: 1950 to 2049.",
        None,
        example='["1990-01-01", "2030-12-31"]',
    )


@dataclass(frozen=True)
class PreprocessStep:
    """One step that changes an input on its way from the client to the model."""

    op: Literal[
        "decode", "orient", "grayscale", "swap", "crop", "resize", "normalize", "scale", "cast", "layout",
        "tokenize", "table", "date_parts",
    ] = describe_field("The operation.", example="normalize")  # fmt: skip
    input: TensorName = describe_field(
        "The name of the input to change. tokenize: the name that a client sends texts under. table: the model's input "
        "whose last axis the columns make; without it each column feeds an input of its own.",
        "",
        example="image",
    )
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
    formats: tuple[Literal["jpeg", "png", "webp", "bmp"], ...] | None = describe_field(
        "decode: the formats of pictures that are taken. Default: JPEG and PNG.", None, example="[jpeg, png]"
    )
    max_pixels: Positive | None = describe_field(
        "decode: the most pixels that a picture may declare; one with more is refused before it is decoded. Default: "
        "32 million.",
        None,
        example="16000000",
    )
    weights: tuple[float, ...] | None = describe_field(
        "grayscale: the weights of red, green and blue; the sum is not rounded. Default: those of ITU-R BT.601, "
        "and rounded to whole numbers as the library named by `like` does.",
        None,
        example="[0.299, 0.587, 0.114]",
    )
    size: tuple[Positive, ...] | None = describe_field(
        "resize, crop: the height and width behind the step. resize: one number is the shorter side's size, and the "
        "other side keeps the proportion, for a crop behind it.",
        None,
        example="[224, 224]",
    )
    method: Literal["nearest", "linear", "cubic", "area", "lanczos"] | None = describe_field(
        "resize: how new pixels are computed from old ones. Default: linear.", None, example="area"
    )
    like: Literal["pillow", "opencv", "torchvision", "transformers"] | None = describe_field(
        "grayscale, resize: the library whose pixels the step gives, as in training. Default: pillow behind decode; "
        "else ONNX's own formula. crop: where an odd number of rows is cut off, torchvision (the default) rounds half "
        "of it to an even number, and transformers down.",
        None,
        example="opencv",
    )
    fit: Literal["stretch", "cover", "contain"] | None = describe_field(
        "resize: change the proportion (stretch), cut off what is too much (cover), or fill up with `pad` (contain). "
        "Default: stretch.",
        None,
        example="cover",
    )
    pad: tuple[Annotated[int, Between(0, 255)], ...] | None = describe_field(
        "resize: the colour that contain fills up with, one value or one for each channel. Default: 0.",
        None,
        example="[114, 114, 114]",
    )
    tokenizer: FilePath | None = describe_field(
        "tokenize: the tokenizer.json that the model was trained with.", None, example="tokenizer.json"
    )
    max_length: Positive | None = describe_field(
        "tokenize: the most tokens of one text, special ones included. Default: the maximum of the axis of tokens.",
        None,
        example="128",
    )
    truncation: Literal["right", "left", "refuse"] | None = describe_field(
        "tokenize: the side on which tokens beyond max_length are cut off, or that such a text is refused. Default: "
        "right.",
        None,
        example="right",
    )
    pair: TensorName | None = describe_field(
        "tokenize: the name under which a client sends a second text for each first one.", None, example="context"
    )
    ids: TensorName | None = describe_field(
        "tokenize: the model's input that takes the tokens. Default: input_ids.", None, example="input_ids"
    )
    mask: TensorName | None = describe_field(
        "tokenize: the model's input that takes 1 for tokens and 0 for padding. Default: attention_mask, if the model "
        "has it.",
        None,
        example="attention_mask",
    )
    types: TensorName | None = describe_field(
        "tokenize: the model's input that takes 0 for tokens of the first text and 1 for those of the second. Default: "
        "token_type_ids, if the model has it.",
        None,
        example="token_type_ids",
    )
    columns: Mapping[TensorName, TableColumn] | None = describe_field(
        "table: the columns by name, in order.", None, example="{age: {kind: number, missing: 29.5}}"
    )
    parts: tuple[DatePart, ...] | None = describe_field(
        "date_parts: the parts of each date that make the input's last axis, in order. A client sends days since "
        "1970-01-01, or seconds where a part is hour, minute or second.",
        None,
        example="[year, month, day]",
    )
    range: tuple[Text, ...] | None = describe_field(
        "date_parts: the first and the last date of random samples. Default: 1950 to 2049.",
        None,
        example='["1990-01-01", "2030-12-31"]',
    )


@dataclass(frozen=True)
class PostprocessStep:
    """One step that changes an output on its way from the model to the client."""

    op: Literal[
        "sigmoid", "softmax", "argmax", "topk", "labels", "threshold", "mean", "round", "scale", "nms", "decode"
    ] = describe_field("The operation.", example="softmax")
    input: TensorName = describe_field(
        "The name of the output to change. nms: that of the boxes; decode: that of the scores of tokens, or of an "
        "answer's first token.",
        example="logits",
    )
    output: TensorName | None = describe_field(
        "The name of the result, which is added to the outputs; for topk and nms the start of several names, such as "
        "_values and _indices. Default: the result replaces the input; that of nms is called detected_boxes, "
        "detected_scores and so on, and that of decode as its `kind` is.",
        None,
        example="probability",
    )
    keep: bool | None = describe_field(
        "Whether the old output stays beside the result, which is then named after both, as in logits_softmax, unless "
        "`output` names it. Default: it stays if `output` names another one.",
        None,
        example="false",
    )
    axis: Annotated[int, Between(-8, 7)] | None = describe_field(
        "softmax, argmax, topk, mean: the axis to compute along. Default: the last one; mean has none. nms: the axis "
        "of the classes in `scores`, where its size does not tell.",
        None,
        example="-1",
    )
    k: Positive | None = describe_field(
        "topk: how many of the largest values to return. nms: how many boxes of a row are kept at most. Default: 100.",
        None,
        example="5",
    )
    labels: FilePath | None = describe_field(
        "labels, topk, threshold, nms, decode: a UTF-8 text file with one label per line; class numbers or scores are "
        "replaced by these labels. topk and nms give them instead of numbers; threshold takes two, that of no first.",
        None,
        example="labels.txt",
    )
    factor: float | None = describe_field("scale: multiply by this number.", None, example="100")
    at: float | None = describe_field("threshold: the least value that counts as yes.", None, example="0.5")
    digits: Annotated[int, Between(-8, 12)] | None = describe_field(
        "round: how many digits to keep behind the decimal point; a value halfway goes to the even digit.",
        None,
        example="2",
    )
    dtype: Dtype | None = describe_field(
        "round, threshold: the dtype of the result. Default: that of the input; of threshold: bool.",
        None,
        example="float16",
    )
    scores: TensorName | None = describe_field(
        "nms: the output with the scores, [batch, classes, boxes] or [batch, boxes, classes].", None, example="scores"
    )
    boxes: Literal["corners", "centre"] | None = describe_field(
        "nms: what the four numbers of a box are: two opposite corners, or centre, width and height. Default: corners.",
        None,
        example="centre",
    )
    iou: Annotated[float, Between(0, 1)] | None = describe_field(
        "nms: a box that shares more than this part of its area (intersection over union) with a better one of its "
        "class is left out. Default: 0.5.",
        None,
        example="0.45",
    )
    score: float | None = describe_field(
        "nms: only boxes with a score above this are kept. Default: 0.", None, example="0.25"
    )
    per_class: Positive | None = describe_field(
        "nms: how many boxes of one class are kept at most in a row. Default: as many as `k`.", None, example="20"
    )
    kind: Literal["entities", "answer"] | None = describe_field(
        "decode: what is found in a client's text: entities by the scores of each token's labels, or the answer to a "
        "question by the scores of its first and last token.",
        None,
        example="entities",
    )
    aggregation: Literal["simple", "first"] | None = describe_field(
        "decode, entities: join neighbouring tokens with one label (simple), or give each word the label of its first "
        "token before (first). Default: simple.",
        None,
        example="first",
    )
    end: TensorName | None = describe_field(
        "decode, answer: the output with the scores of an answer's last token.", None, example="end_logits"
    )
    max_answer: Positive | None = describe_field(
        "decode, answer: the most tokens of an answer. Default: 15.", None, example="30"
    )

    @property
    def keeps(self) -> bool:
        """Return whether the old output stays beside the result."""
        return self.output not in (None, self.input) if self.keep is None else self.keep
