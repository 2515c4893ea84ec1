"""PyTorch: check that a factory gives the same module whatever the random seed is."""

from collections.abc import Iterator

import torch

from onnxpack.sources.seeds import SEEDS, digest_values, require_same
from onnxpack.sources.torch.code import make_module_under_seed
from onnxpack.spec.load import SpecFile


def require_weights(file: SpecFile) -> None:
    """Call the factory under two seeds and compare all tensors; one module at a time is in memory.

    Raises:
        SourceError: some differ, so they are random, and the spec has no weights for them.
    """
    model = file.spec.model
    assert model.factory
    one, other = (_digests(make_module_under_seed(seed, file, model.factory, **model.kwargs)) for seed in SEEDS)
    require_same(model.factory, one, other)


def _digests(module: torch.nn.Module) -> dict[str, str | None]:
    return {name: _digest(tensor) for name, tensor in _tensors(module)}


def _tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield parameters, buffers (also those that no state dict holds), and tensors in plain attributes, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                yield f"{path}.{name}".removeprefix("."), value


def _digest(tensor: torch.Tensor) -> str | None:
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        return None
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    # As bytes: numpy has no bfloat16.
    values = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return digest_values(values.reshape(-1).view(torch.uint8).numpy())
