"""A model of transformers as the exporters take it: inputs in the spec's order, outputs that the task is asked for."""

from collections.abc import Mapping
from typing import Any

import torch

from onnxpack.core.errors import SourceError
from onnxpack.sources.transformers.folder import Head
from onnxpack.spec.model import Task

_MASK = "attention_mask"
_OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "text-classification": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "image-classification": ("logits",),
}
_OWN = ("text_embeds", "image_embeds", "pooler_output")
"""What models call the one vector that they make themselves: behind a projection, or of their pooler."""
_LOWEST = -1e9  # as sentence-transformers has it; float32 holds it


def list_output_names(head: Head) -> tuple[str, ...]:
    """Return the names of the outputs that a model of a task answers with."""
    if head.task in _OUTPUTS:
        return _OUTPUTS[head.task]
    return ("last_hidden_state",) if head.pooling == "none" else ("embedding",)


class Answering(torch.nn.Module):
    """A model that answers with the outputs of its task by name, and pools the tokens where one vector is asked for."""

    def __init__(self, model: torch.nn.Module, head: Head, names: tuple[str, ...]) -> None:
        """Take the names of the inputs in the order in which they come."""
        super().__init__()
        self.model = model
        self.head = head
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs by name."""
        inputs = dict(zip(self.names, tensors, strict=True))
        answer = self.model(**inputs, return_dict=True)
        wanted = _OUTPUTS.get(self.head.task)
        if wanted:
            return {name: _take(answer, name) for name in wanted}
        if self.head.pooling == "none":
            return {"last_hidden_state": _take(answer, "last_hidden_state")}
        vector = self._pool(answer, inputs.get(_MASK))
        if self.head.normalize:
            vector = torch.nn.functional.normalize(vector, p=2.0, dim=1)
        return {"embedding": vector}

    def _pool(self, answer: Any, mask: torch.Tensor | None) -> torch.Tensor:
        """Make one vector of those of all tokens, as sentence-transformers does."""
        if self.head.pooling == "own":
            return _take(answer, *_OWN).flatten(1)
        tokens = _take(answer, "last_hidden_state")
        if tokens.dim() == 4:  # the channels, height and width of a convolution
            tokens = tokens.flatten(2).transpose(1, 2)
        if self.head.pooling == "cls":
            return tokens[:, 0]
        kept = torch.ones_like(tokens[:, :, :1]) if mask is None else mask.unsqueeze(-1).to(tokens.dtype)
        if self.head.pooling == "mean":
            return (tokens * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
        return torch.where(kept > 0, tokens, torch.full_like(tokens, _LOWEST)).amax(1)


def _take(answer: Any, *names: str) -> torch.Tensor:
    """Return the first of these outputs that the model gives.

    Raises:
        SourceError: it gives none of them.
    """
    found = next((value for name in names if isinstance(value := answer.get(name), torch.Tensor)), None)
    if found is None:
        gives = ", ".join(answer.keys())
        raise SourceError(
            f"the model gives {gives}, and no {' or '.join(names)}", "set `task` and `pooling` to what it is for"
        )
    return found
