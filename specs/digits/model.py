"""A small convolutional network that reads 8 x 8 pictures of handwritten digits."""

import torch
from torch import Tensor, nn

DARKEST = 16.0  # the value of a fully inked pixel
CLASSES = 10


class DigitNet(nn.Module):
    """Two convolutions find strokes, two linear layers name the digit."""

    def __init__(self, channels: int = 16, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels * 4 * 4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, CLASSES),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Give the log of each digit's probability.

        image:   float32 [batch, 1, 8, 8], ink from 0 (none) to 16
        returns: float32 [batch, 10]
        """
        return torch.log_softmax(self.classifier(self.features(image / DARKEST)), dim=1)
