"""Train the digits network and write the checkpoint `weights/digits.pt`.

The same bytes come out of every run with the same package versions on the same kind of CPU.
"""

import hashlib
from pathlib import Path

import torch
from model import DigitNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

SEED = 0
EPOCHS = 30
BATCH = 32
CHECKPOINT_FILE = Path(__file__).resolve().parent / "weights" / "digits.pt"


def load_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give training images, held-back images (25 %), training labels and held-back labels."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(digits).long()
    everything = range(len(labels))
    kept, held_back = train_test_split(everything, test_size=0.25, stratify=digits, random_state=SEED)
    return images[kept], images[held_back], labels[kept], labels[held_back]


def train(net: DigitNet, images: Tensor, labels: Tensor) -> None:
    """Train for `EPOCHS` passes over the images, each in another order."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    net.train()
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(images)), BATCH):
            loss = nn.functional.nll_loss(net(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    net.eval()


def main() -> None:
    """Train, report the accuracy on held-back images, and save a checkpoint as training loops leave them."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of sums, and so the last bits, depends on the number of threads
    torch.use_deterministic_algorithms(True)

    train_images, test_images, train_labels, test_labels = load_data()
    net = DigitNet()
    train(net, train_images, train_labels)
    with torch.inference_mode():
        accuracy = (net(test_images).argmax(dim=1) == test_labels).float().mean().item()

    CHECKPOINT_FILE.parent.mkdir(exist_ok=True)
    torch.save({"checkpoint": {"model": net.state_dict(), "epoch": EPOCHS}}, CHECKPOINT_FILE)

    content = CHECKPOINT_FILE.read_bytes()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{CHECKPOINT_FILE.name}: {parameters:,} parameters, {len(content):,} bytes")
    print(f"held-back accuracy: {accuracy:.4f} on {len(test_labels)} images")
    print(f"sha256: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
