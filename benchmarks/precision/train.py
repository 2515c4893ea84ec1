"""Trains the benchmark's networks on scikit-learn's digits, and writes weights and data to ``data/``.

A quarter of the pictures is held back: it is the evaluation data. Calibration data are 256 of the others.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from models import Encoder, ResNet18
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

DATA = Path(__file__).resolve().parent / "data"
ROWS = 256


def as_written(images: Tensor) -> Tensor:
    """float32 [rows, 1, 8, 8] from 0 to 16, as ``specs/digits`` takes them."""
    return images[:, None]


def as_photographs(images: Tensor) -> Tensor:
    """float32 [rows, 3, 32, 32] from 0 to 1."""
    large = nn.functional.interpolate(images[:, None] / 16, size=(32, 32), mode="bilinear")
    return large.repeat(1, 3, 1, 1)


def as_patches(images: Tensor) -> Tensor:
    """float32 [rows, 8, 8] from 0 to 1."""
    return images / 16


def main() -> None:
    """Everything, in about three minutes on two cores."""
    DATA.mkdir(exist_ok=True)
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(pixels).float().reshape(-1, 8, 8), torch.from_numpy(digits).long()
    kept, back = train_test_split(range(len(labels)), test_size=0.25, stratify=digits, random_state=0)
    for name, seen in (("digits", as_written), ("resnet18", as_photographs), ("encoder", as_patches)):
        np.savez(DATA / f"{name}-calibration.npz", image=seen(images[kept[:ROWS]]).numpy())
        np.savez(DATA / f"{name}-evaluation.npz", image=seen(images[back]).numpy(), digit=labels[back].numpy())
    for name, net, seen, epochs in (("resnet18", ResNet18, as_photographs, 8), ("encoder", Encoder, as_patches, 16)):
        torch.manual_seed(0)
        save_file(trained(net(), seen, images[kept], labels[kept], epochs).state_dict(), DATA / f"{name}.safetensors")


def trained(net: nn.Module, seen: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """The network after so many passes, each in another order."""
    began = time.monotonic()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4, weight_decay=0.01)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(images)), 64):
            loss = nn.functional.cross_entropy(net(seen(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"{type(net).__name__}: {epochs} passes in {time.monotonic() - began:.0f} s, loss {loss.item():.3f}")
    return net.eval()


if __name__ == "__main__":
    main()
