"""PyTorch: the module that the user's code gives."""

from typing import Any

import torch

from onnxpack.errors import SourceError
from onnxpack.spec.load import SpecFile
from onnxpack.user_code import built


def made(file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """The module that the code at ``FILE.py:NAME`` or ``package.module:NAME`` gives when it is called.

    Raises:
        SourceError: it cannot be imported, is not there, raises, or gives something else.
    """
    value = built(file, reference, *args, **kwargs)
    if not isinstance(value, torch.nn.Module):
        raise SourceError(f"{reference} gave a {type(value).__name__}", "it must give a torch.nn.Module")
    return value
