"""PyTorch: call the user's code for a module."""

import random
from typing import Any

import numpy as np
import torch

from onnxpack.core.errors import SourceError
from onnxpack.spec.load import SpecFile
from onnxpack.worker.user_code import built

_SEED = 0


def made(file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Return the module that the code at ``FILE.py:NAME`` or ``package.module:NAME`` gives when it is called.

    Random parameters are the same each time: a model is loaded several times in a build.

    Raises:
        SourceError: it cannot be imported, is not there, raises, or gives something else.
    """
    return made_under(_SEED, file, reference, *args, **kwargs)


def made_under(seed: int, file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Do what ``made`` does, under another seed of the random numbers of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    value = built(file, reference, *args, **kwargs)
    if not isinstance(value, torch.nn.Module):
        raise SourceError(f"{reference} gave a {type(value).__name__}", "it must give a torch.nn.Module")
    return value
