"""ResNet-18 of torchvision, with weights from a fixed seed: this example downloads nothing."""

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


def resnet(classes: int = 10, seed: int = 0) -> nn.Module:
    """ResNet-18 for small pictures: as published for CIFAR, the first convolution is 3 x 3 and nothing is pooled."""
    _require_torchvision()
    from torchvision.models import resnet18

    torch.manual_seed(seed)
    module: nn.Module = resnet18(weights=None, num_classes=classes)
    module.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    module.maxpool = nn.Identity()
    return module
