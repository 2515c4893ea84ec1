"""A small vision transformer of timm, with weights from a fixed seed: this example downloads nothing."""

import torch
from torch import nn

# What torchvision's compiled part registers, each with its gradient.
_OPERATORS = ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")


def _require_torchvision() -> None:
    """Import torchvision, also where its compiled part was built for another torch: classifiers use none of it.

    Its import only looks the operators up, so a name without an implementation is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in _OPERATORS:
            for operator in (name, f"_{name}_backward"):
                torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


def vit(depth: int = 2, classes: int = 10, seed: int = 0) -> nn.Module:
    """ViT-Tiny on 64 x 64 pictures, with ``depth`` of its 12 blocks."""
    _require_torchvision()
    import timm

    torch.manual_seed(seed)
    module: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=64, depth=depth, num_classes=classes
    )
    return module
