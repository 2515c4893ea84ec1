"""Train the network, and write `weights/last.ckpt` with the layout that Lightning's Trainer leaves.

A LightningModule keeps the network in an attribute, here `model`, so every key of its state dict begins with `model.`.
Lightning itself is not needed: the same bytes come out of every run with the same torch on the same kind of CPU.
"""

from pathlib import Path

import torch
from model import Regressor
from torch import nn

CHECKPOINT = Path(__file__).resolve().parent / "weights" / "last.ckpt"
EPOCHS = 20


class Training(nn.Module):
    """What a LightningModule is to its checkpoint: the network, and what only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Regressor()
        self.register_buffer("loss_weight", torch.ones(1))


def main() -> None:
    """Fit y = x0 - 2 x1 + x2 x3 on random points."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of sums, and so the last bits, depends on the number of threads
    points = torch.randn(512, 4)
    values = points[:, 0] - 2 * points[:, 1] + points[:, 2] * points[:, 3]
    module = Training()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(points)), 64):
            loss = nn.functional.mse_loss(module.model(points[chosen])["value"], values[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    CHECKPOINT.parent.mkdir(exist_ok=True)
    torch.save(
        {
            "epoch": EPOCHS,
            "global_step": EPOCHS * 8,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": module.state_dict(),
            "loops": {},
            "callbacks": {},
            "lr_schedulers": [],
            "hyper_parameters": {"features": 4, "hidden": 32},
        },
        CHECKPOINT,
    )
    print(f"{CHECKPOINT.name}: {CHECKPOINT.stat().st_size:,} bytes, loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
