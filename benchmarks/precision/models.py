"""The two larger networks of the precision benchmark: a ResNet-18 and a small vision transformer."""

from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 10


class Block(nn.Module):
    """Two convolutions and a way around them (He et al., 2015, figure 2)."""

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(taken, given, 3, stride, 1, bias=False),
            nn.BatchNorm2d(given),
            nn.ReLU(),
            nn.Conv2d(given, given, 3, 1, 1, bias=False),
            nn.BatchNorm2d(given),
        )
        plain = stride == 1 and taken == given
        self.around = (
            nn.Identity()
            if plain
            else nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the picture, or halve it."""
        return torch.relu(self.body(x) + self.around(x))


class ResNet18(nn.Module):
    """11.2 million weights in eighteen layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.Sequential(*[
            nn.Sequential(Block(taken, given, 1 if taken == given else 2), Block(given, given, 1))
            for taken, given in pairwise(widths)
        ])  # fmt: skip
        self.head = nn.Linear(512, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """image: float32 [batch, 3, 32, 32] from 0 to 1 → logits: float32 [batch, 10]."""
        return self.head(self.stages(self.stem(image)).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer over 16 patches of 2 x 2 pixels: 4 layers of width 256, 3.2 million weights."""

    def __init__(self, width: int = 256, heads: int = 4, layers: int = 4) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.place = nn.Parameter(torch.randn(16, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """image: float32 [batch, 8, 8] from 0 to 1 → logits: float32 [batch, 10]."""
        patches = image.reshape(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        x = self.patch(patches) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))
