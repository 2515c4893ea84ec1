"""A fraud score for one account, from the sequence of its transactions."""

import math

import torch
from torch import Tensor, nn

DATE_FEATURES = 6


class SelfAttention(nn.Module):
    """One head of self-attention over the transactions of an account.

    It is written with plain matrix products: `scaled_dot_product_attention` has no export to opset 13.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.scale = 1.0 / math.sqrt(width)

    def forward(self, steps: Tensor) -> Tensor:
        """[batch, seq, width] -> [batch, seq, width]: each step is a mixture of what all steps hold."""
        affinity = torch.matmul(self.query(steps), self.key(steps).transpose(1, 2)) * self.scale
        return torch.matmul(torch.softmax(affinity, dim=-1), self.value(steps))


class TransactionNet(nn.Module):
    """Reads when, what and how much of every transaction, and scores the account as a whole.

    Nothing depends on how many accounts or transactions there are: both axes may have any size from 1 up.
    """

    def __init__(self, vocab_size: int, token_width: int = 4, date_width: int = 8, width: int = 16) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, token_width)
        self.dates = nn.Linear(DATE_FEATURES, date_width)
        self.mix = nn.Linear(token_width + date_width + 1, width)
        self.attention = SelfAttention(width)
        self.head = nn.Linear(width, 1)

    def forward(self, dates: Tensor, input_ids: Tensor, amounts: Tensor) -> Tensor:
        """Score each account between 0 (ordinary) and 1 (fraudulent).

        dates:     float32 [batch, seq, 6], standardised year, month, day, weekday, hour and minute
        input_ids: int64 [batch, seq, 20], the tokens of the transaction's text, below `vocab_size`
        amounts:   float32 [batch, seq], not negative
        returns:   float32 [batch]
        """
        what = self.tokens(input_ids).mean(dim=2)
        when = torch.tanh(self.dates(dates))
        how_much = torch.log1p(amounts).unsqueeze(-1)
        steps = torch.relu(self.mix(torch.cat([what, when, how_much], dim=-1)))
        steps = steps + self.attention(steps)
        score: Tensor = torch.sigmoid(self.head(steps.mean(dim=1))).squeeze(-1)
        return score
