"""What a folder that transformers saved tells of pictures: the steps from a client's file to the model's numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpack.core.errors import SourceError
from onnxpack.core.regular import is_regular
from onnxpack.core.text import clean
from onnxpack.inspection.draft import Draft
from onnxpack.sources.transformers.folder import read_json

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The files that say what is done to pictures; in the second one beside what is done to texts."""
_METHODS = {0: "nearest", 1: "lanczos", 2: "linear", 3: "cubic", 4: "area"}
"""Pillow's numbers of its filters."""
_CONVNEXT = ("ConvNext", "PoolFormer")
"""The families whose `crop_pct` says how much of a picture is kept; below this size, others stretch."""
_STRETCHED_FROM = 384
_KNOWN = (
    "ViT", "DeiT", "Beit", "Bit", "CLIP", "ConvNext", "Siglip", "MobileNetV1", "MobileNetV2", "Pvt", "EfficientFormer",
    "ImageGPT", "Dinov3ViT", "Segformer", "Levit",
)  # fmt: skip
"""The families whose steps are those of their settings, and no others."""
_ENDS = ("ImageProcessorPil", "ImageProcessorFast", "ImageProcessor", "FeatureExtractor")
_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Size = tuple[int, int]


def draft_picture_steps(
    grown: Draft, folder: Path, config: Mapping[str, Any], name: str
) -> tuple[Size, list[dict[str, Any]]]:
    """Return the height and width that a model takes, and the steps that make them of a picture's file.

    Raises:
        SourceError: the settings leave no fixed size, or name a filter that no step has.
    """
    found = _read_processor(folder)
    own = _read_own_size(config)
    steps: list[dict[str, Any]] = [{"op": "decode"}]
    if config.get("num_channels") == 1:
        steps.append({"op": "grayscale"})
    if found is None:
        text = "check: the folder has no preprocessor_config.json; these steps are a guess, as most models are trained"
        grown.note("preprocess", text=text)
        found = {"size": {"height": own[0], "width": own[1]}} if own else {}
        found |= {"image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD}
    family, fast = _read_family(found, config)
    if family not in _KNOWN and family:
        text = f"check: whether the class that prepares pictures ({clean(family, 60)}) does more than its settings say"
        grown.note("preprocess", text=text)
    resizing, size = _make_resizing(found, family, like="torchvision" if fast else "pillow")
    steps += resizing
    size = size or own
    if size is None:
        raise SourceError(
            "the settings of pictures leave no fixed height and width", "give `size` a height and a width, or a crop"
        )
    steps += [{"op": "cast", "dtype": "uint8"}, {"op": "layout", "layout": "NHWC"}, *_make_scaling(found)]
    return size, [{"op": step["op"], "input": name} | step for step in steps]


def _read_processor(folder: Path) -> dict[str, Any] | None:
    """Return the settings of pictures; None where there are none."""
    for name in PROCESSORS:
        if is_regular(folder / name):
            fields = read_json(folder / name)
            inner = fields.get("image_processor", fields) if isinstance(fields, dict) else None
            if isinstance(inner, dict):
                return dict(inner)
    return None


def _read_own_size(config: Mapping[str, Any]) -> Size | None:
    """Return the size that the model itself is made for."""
    size = config.get("image_size")
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list) and len(size) == 2 else None


def _read_family(found: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the family of the class that prepares pictures, and whether it does so by torchvision.

    transformers 4 called Pillow's `ViTImageProcessor` and torchvision's `ViTImageProcessorFast`; 5 saves both as
    `ViTImageProcessor`, and takes torchvision where it is there. Which of them saved a folder, its config.json says.
    """
    name = str(found.get("image_processor_type") or found.get("feature_extractor_type") or "")
    end = next((end for end in _ENDS if name.endswith(end)), "")
    major = str(config.get("transformers_version", "")).partition(".")[0]
    is_new = major.isdecimal() and int(major) >= 5
    return name.removesuffix(end), end == "ImageProcessorFast" or (is_new and end == "ImageProcessor")


def _make_resizing(found: Mapping[str, Any], family: str, like: str) -> tuple[list[dict[str, Any]], Size | None]:
    """Return the steps from a picture of any size to one of the model's, and that size, where they leave one."""
    steps: list[dict[str, Any]] = []
    size: Size | None = None
    if found.get("do_resize", True) and found.get("size"):
        height, width, shortest = _read_size(found["size"], square=family not in ("CLIP", "Bit", *_CONVNEXT))
        resize: dict[str, Any] = {"op": "resize"}
        method = _read_method(found)
        # torchvision's other filters are Pillow's formulas, and its nearest here the exact one, which is Pillow's too.
        options = {"method": method, "like": like if method in ("linear", "cubic") else "pillow"}
        if shortest and family in _CONVNEXT:
            share = float(found.get("crop_pct") or 0.875)
            if shortest < _STRETCHED_FROM:
                steps += [resize | {"size": [int(shortest / share)]} | options]
                steps.append(_make_crop(shortest, shortest))
            else:
                steps.append(resize | {"size": [shortest, shortest]} | options)
            size = (shortest, shortest)
        elif shortest:
            steps.append(resize | {"size": [shortest]} | options)
        elif height and width:
            steps.append(resize | {"size": [height, width]} | options)
            size = (height, width)
        else:
            raise SourceError(
                f"pictures are resized to {clean(found['size'], 100)}, which no step does",
                "give `size` a height and a width, or the shortest edge and a crop",
            )
    if found.get("do_center_crop") and found.get("crop_size"):
        height, width, edge = _read_size(found["crop_size"], square=True)
        size = (height or edge, width or edge)
        steps.append(_make_crop(*size))
    return steps, size


def _make_crop(height: int, width: int) -> dict[str, Any]:
    return {"op": "crop", "size": [height, width], "like": "transformers"}


def _read_size(size: Any, *, square: bool) -> tuple[int, int, int]:
    """Return height, width and shortest edge, each 0 where it is not given; one number is square, or the edge."""
    if isinstance(size, int):
        return (size, size, 0) if square else (0, 0, size)
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1]), 0
    fields = size if isinstance(size, dict) else {}
    if fields.get("longest_edge") or fields.get("max_height"):
        return 0, 0, 0
    height, width, edge = (int(fields.get(key) or 0) for key in ("height", "width", "shortest_edge"))
    return height, width, edge


def _read_method(found: Mapping[str, Any]) -> str:
    number = found.get("resample", 2)
    if number not in _METHODS:
        raise SourceError(
            f"pictures are resized by Pillow's filter {clean(number, 20)}, which no step has",
            f"known: {', '.join(f'{key} ({word})' for key, word in _METHODS.items())}",
        )
    return _METHODS[number]


def _make_scaling(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the step from whole numbers to what the model was trained with."""
    factor = float(found.get("rescale_factor") or 1 / 255) if found.get("do_rescale", True) else 1.0
    # As people write it: 255, and not 254.99999999999997.
    scale: float | int = round(1 / factor) if abs(1 / factor - round(1 / factor)) < 1e-6 else 1 / factor
    if not found.get("do_normalize", True):
        return [{"op": "scale", "scale": scale}]
    mean, std = (_list_values(found.get(key), usual) for key, usual in
                 (("image_mean", _IMAGENET_MEAN), ("image_std", _IMAGENET_STD)))  # fmt: skip
    return [{"op": "normalize", "scale": scale, "mean": mean, "std": std}]


def _list_values(value: Any, usual: list[float]) -> list[float]:
    values = value if isinstance(value, list) else [value] if isinstance(value, int | float) else usual
    return [float(item) for item in values]
