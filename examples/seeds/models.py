"""The networks of the seeds, with parameters from a fixed seed: nothing is downloaded."""

from contextlib import suppress

import torch
from torch import Tensor, nn

# What torchvision's compiled part registers, each with its gradient.
_OPERATORS = ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")


def import_torchvision() -> None:
    """Import torchvision, also where its compiled part was built for another torch: classifiers use none of it."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in _OPERATORS:
            for operator in (name, f"_{name}_backward"):
                torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


class ThreeInputs(nn.Module):
    """Reads a sequence of transactions: the parts of their dates, the tokens of their texts, and their amounts."""

    def __init__(self, vocabulary: int = 40_000, classes: int = 3, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width + 6 + 1, width)
        self.head = nn.Linear(width, classes)

    def forward(self, dates: Tensor, input_ids: Tensor, amounts: Tensor) -> Tensor:
        """Give a logit for each class.

        dates:     float32 [batch, seq, 6]
        input_ids: int64 [batch, seq, 20]
        amounts:   float32 [batch, seq]
        returns:   float32 [batch, classes]
        """
        text = self.tokens(input_ids).mean(dim=2)
        each = torch.cat([text, dates, amounts.unsqueeze(-1) / 5000], dim=-1)
        return self.head(torch.tanh(self.mix(each)).mean(dim=1))


def resnet18(classes: int = 1000) -> nn.Module:
    """ResNet-18 as torchvision has it."""
    import_torchvision()
    from torchvision.models import resnet18

    torch.manual_seed(0)
    module: nn.Module = resnet18(weights=None, num_classes=classes)
    return module


def resnet50(classes: int = 1000) -> nn.Module:
    """ResNet-50 as torchvision has it."""
    import_torchvision()
    from torchvision.models import resnet50

    torch.manual_seed(0)
    module: nn.Module = resnet50(weights=None, num_classes=classes)
    return module


def wrap_resnet18(classes: int = 1000) -> nn.Module:
    """Wrap ResNet-18 into a Lightning module that calls it; into a plain one where Lightning is not installed."""
    kind: type[nn.Module] = nn.Module
    with suppress(ModuleNotFoundError):
        from lightning import LightningModule

        kind = LightningModule

    class Wrapped(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.network = resnet18(classes)

        def forward(self, image: Tensor) -> Tensor:
            answer: Tensor = self.network(image)
            return answer

    return Wrapped()


def repvit(classes: int = 10) -> nn.Module:
    """RepViT-M0.9 with the two heads that it is distilled with."""
    import_torchvision()
    import timm

    torch.manual_seed(0)
    module: nn.Module = timm.create_model("repvit_m0_9", pretrained=False, num_classes=classes, distillation=True)
    return module


def fuse(module: nn.Module) -> None:
    """Fuse batch norms into the convolutions before them, in place, as the model itself knows how."""
    module.fuse()


class MnistNet(nn.Module):
    """Two convolutions, dropout and two linear layers, as the tutorials have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Give the log of each digit's probability; image: float32 [batch, 1, 28, 28]."""
        x = torch.relu(torch.max_pool2d(self.conv1(image), 2))
        x = torch.relu(torch.max_pool2d(self.drop(self.conv2(x)), 2))
        x = torch.relu(self.fc1(x.flatten(1)))
        return torch.log_softmax(self.fc2(nn.functional.dropout(x, training=self.training)), dim=1)
