"""The network inside a LightningModule, as a training project keeps it: plain torch."""

from torch import Tensor, nn


class Regressor(nn.Module):
    """A small multilayer perceptron with batch norm and dropout."""

    def __init__(self, features: int = 4, hidden: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Give the value and its distance from zero.

        features: float32 [batch, 4]
        returns:  ``value`` and ``size``, float32 [batch]
        """
        value = self.layers(features).squeeze(-1)
        return {"value": value, "size": value.abs()}
