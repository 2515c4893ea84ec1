"""Whether a review is good or bad, from the tokens of its text."""

import torch
from torch import Tensor, nn


class SentimentNet(nn.Module):
    """Embeds tokens, lets neighbours see each other, and weighs what they say.

    Padding counts nowhere: a text gives the same logits alone and beside longer ones.
    """

    def __init__(self, vocab_size: int, width: int = 24) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        self.neighbours = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.weight = nn.Linear(width, 1)
        self.head = nn.Linear(width, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the logits of bad and good.

        input_ids:      int64 [batch, tokens], below `vocab_size`
        attention_mask: int64 [batch, tokens], 1 for tokens and 0 for padding
        returns:        float32 [batch, 2]
        """
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        embedded = self.tokens(input_ids) * mask
        seen = torch.relu(self.neighbours(embedded.transpose(1, 2)).transpose(1, 2))
        weights = torch.exp(torch.tanh(self.weight(seen))) * mask
        logits: Tensor = self.head((seen * weights).sum(dim=1) / weights.sum(dim=1))
        return logits
