"""Train the fraud model on made-up accounts and write `weights/transactions.safetensors`.

The same bytes come out of every run with the same package versions on the same kind of CPU.
"""

import hashlib
from pathlib import Path

import torch
from model import DATE_FEATURES, TransactionNet
from safetensors.torch import save_file
from torch import Tensor, nn

SEED = 0
VOCAB_SIZE = 40_000
HOUR = 4  # its place among the date features
TOKENS = 20
RISKY_TOKENS = 4_000  # token ids below this one are what fraudsters' texts are made of
BATCH = 64
STEPS = 400
WEIGHTS_FILE = Path(__file__).resolve().parent / "weights" / "transactions.safetensors"

ModelInputs = tuple[Tensor, Tensor, Tensor]  # dates, input_ids, amounts


def make_accounts(accounts: int, seq: int, random: torch.Generator) -> tuple[ModelInputs, Tensor]:
    """Make up accounts: the model's three inputs, and 1.0 for each fraudulent account.

    In a fraudulent account about half of the transactions are large, late in the day and full of risky
    tokens.
    """
    dates = torch.randn(accounts, seq, DATE_FEATURES, generator=random)
    input_ids = torch.randint(0, VOCAB_SIZE, (accounts, seq, TOKENS), generator=random)
    amounts = 5_000.0 * torch.rand(accounts, seq, generator=random) ** 3

    fraudulent = torch.rand(accounts, generator=random) < 0.5
    suspicious = fraudulent.unsqueeze(1) & (torch.rand(accounts, seq, generator=random) < 0.5)
    dates[..., HOUR] = torch.where(suspicious, dates[..., HOUR].abs(), dates[..., HOUR])
    input_ids = torch.where(suspicious.unsqueeze(2), input_ids % RISKY_TOKENS, input_ids)
    amounts = torch.where(suspicious, 2_500.0 + amounts / 2, amounts)
    return (dates, input_ids, amounts), fraudulent.float()


def train() -> TransactionNet:
    """Train on freshly made-up accounts, with another number of transactions in every batch."""
    random = torch.Generator().manual_seed(SEED)
    net = TransactionNet(vocab_size=VOCAB_SIZE)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(STEPS):
        seq = int(torch.randint(1, 33, (), generator=random))
        inputs, fraudulent = make_accounts(BATCH, seq, random)
        loss = nn.functional.binary_cross_entropy(net(*inputs), fraudulent)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


def main() -> None:
    """Train, report the accuracy on accounts the model has not seen, and save the state dict."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of sums, and so the last bits, depends on the number of threads
    torch.use_deterministic_algorithms(True)

    net = train()
    inputs, fraudulent = make_accounts(1_000, 16, torch.Generator().manual_seed(SEED + 1))
    with torch.inference_mode():
        accuracy = ((net(*inputs) > 0.5) == fraudulent.bool()).float().mean().item()

    WEIGHTS_FILE.parent.mkdir(exist_ok=True)
    save_file(net.state_dict(), WEIGHTS_FILE)

    content = WEIGHTS_FILE.read_bytes()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{WEIGHTS_FILE.name}: {parameters:,} parameters, {len(content):,} bytes")
    print(f"held-back accuracy: {accuracy:.4f} on {len(fraudulent):,} accounts")
    print(f"sha256: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
