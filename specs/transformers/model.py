"""A tiny BERT classifier of transformers, from its configuration alone: this example downloads nothing."""

from importlib.util import find_spec

import torch
from torch import nn

# What torchvision's compiled part registers, each with its gradient.
_OPERATORS = ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")


def _require_torchvision() -> None:
    """Import torchvision, which transformers does wherever it is installed, even for texts.

    Where its compiled part was built for another torch, a name without an implementation is enough for its import.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in _OPERATORS:
            for operator in (name, f"_{name}_backward"):
                torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


def bert(labels: int = 3, seed: int = 0) -> nn.Module:
    """Two layers of width 32 over a vocabulary of 1,000."""
    if find_spec("torchvision"):
        _require_torchvision()
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=1000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
    )
    module: nn.Module = BertForSequenceClassification(config)
    return module
