"""PyTorch: load a whole model from one file, which can run code: TorchScript, torch.export, a pickled module.

Such a file is loaded only with its digest in the spec, from the very bytes that have this digest.
"""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

from onnxpack.core.errors import SourceError
from onnxpack.core.text import with_article
from onnxpack.spec.load import SpecFile


def load_whole_model(file: SpecFile) -> torch.nn.Module:
    """Load the module in the spec's file, whose content says what kind of file it is.

    Raises:
        SourceError: it is another file than the spec trusts, cannot be loaded, or holds no module.
    """
    model = file.spec.model
    assert model.path
    data = file.resolve(model.path).read_bytes()
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise SourceError(f"'{model.path}' changed after its digest was checked", "run the build again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own about formats that it will drop
            value = _LOADERS[_find_kind(data)](io.BytesIO(data))
    except Exception as error:  # torn zips, missing classes, code of the file itself: anything
        words = (str(error).strip().splitlines() or [""])[0]
        raise SourceError(
            f"cannot load '{model.path}': {type(error).__name__}: {words}",
            "try to load it in Python with this version of torch; the classes of a pickled module must be importable",
        ) from None
    if isinstance(value, Mapping):
        raise SourceError(
            f"'{model.path}' holds weights without code", "name it in `model.weights`, and the code in `model.factory`"
        )
    if not isinstance(value, torch.nn.Module):
        raise SourceError(f"'{model.path}' holds {with_article(type(value).__name__)}", "save a torch.nn.Module in it")
    return value


def _find_kind(data: bytes) -> str:
    """Tell the kind of file by the members of the archive, since a name's ending says little."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return "pickle"  # as torch.save wrote before version 1.6
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in members:
        return "torchscript"
    return "export" if "archive_format" in members else "pickle"


def _load_torchscript(stream: io.BytesIO) -> Any:
    return torch.jit.load(stream, map_location="cpu")  # type: ignore[no-untyped-call]


def _load_exported(stream: io.BytesIO) -> Any:
    module: torch.nn.Module = torch.export.load(stream).module()
    # Its mode was fixed when it was exported; its own train() and eval() raise.
    for name in ("train", "eval"):
        setattr(module, name, lambda mode=True: module)
    for part in module.modules():
        part.training = False
    return module


def _load_pickled(stream: io.BytesIO) -> Any:
    return torch.load(stream, map_location="cpu", weights_only=False)


_LOADERS = {"torchscript": _load_torchscript, "export": _load_exported, "pickle": _load_pickled}
