"""PyTorch: call the user's code for a module."""

import random
from typing import Any

import numpy as np
import torch

from onnxpack.sources.factories import call_factory
from onnxpack.spec.load import SpecFile

_SEED = 0


def make_module(file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Return the module that the code at ``FILE.py:NAME`` or ``package.module:NAME`` gives when it is called.

    Random parameters are the same each time: a model is loaded several times in a build.

    Raises:
        SourceError: it cannot be imported, is not there, takes other arguments, raises, or returns something else.
    """
    return make_module_under_seed(_SEED, file, reference, *args, **kwargs)


def make_module_under_seed(seed: int, file: SpecFile, reference: str, /, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Do what ``make_module`` does, under another seed of the random numbers of torch, numpy and Python."""
    # All three, as a model's code may draw from any of them.
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    module: torch.nn.Module = call_factory(file, reference, torch.nn.Module, "torch.nn.Module", *args, **kwargs)
    return module
