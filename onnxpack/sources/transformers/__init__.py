"""Hugging Face transformers: a folder as ``save_pretrained`` leaves it, exported as PyTorch's modules are.

Only data is read: config.json and safetensors. Nothing is fetched, and no code of the folder is run.
"""

import torch

from onnxpack.core.errors import SourceError
from onnxpack.sources.torch import export, run
from onnxpack.sources.transformers.load import load_model
from onnxpack.sources.transformers.outputs import Answering
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    fields=("path", "task", "pooling", "normalize", "exporter"),
    folder=(
        "config.json", "model.safetensors", "model.safetensors.index.json", "modules.json", "1_Pooling/config.json",
        "adapter_config.json",
    ),
    packages=("transformers", "torch", "torchvision", "tokenizers", "sentence_transformers", "datasets", "safetensors"),
    exporter_opsets={"torchscript": 20},
)  # fmt: skip

__all__ = ["export", "load", "run"]


def load(file: SpecFile) -> torch.nn.Module:
    """Load the model for its task, in float32 and eval mode, with outputs of the task's names."""
    strings = [name for name, tensor in file.spec.inputs.items() if tensor.dtype == "string"]
    if strings:
        raise SourceError(
            f"input '{strings[0]}': a model takes the ids of tokens, and no strings",
            "declare `input_ids`, and add a `tokenize` step to `preprocess`: `onnxpack init FOLDER` writes both",
        )
    model, head = load_model(file)
    module = Answering(model, head, tuple(file.spec.inputs)).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module
