"""A network whose time goes into reading its weights, so that a batch takes hardly longer than one row."""

import torch
from torch import Tensor, nn


class Dense(nn.Module):
    """Two wide layers of random weights, the same each time."""

    def __init__(self, width: int = 3072) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Linear(width, 4)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, 16] -> [batch, 4]."""
        scores: Tensor = self.head(self.layers(features))
        return scores
