"""Files of weights and of estimators, as far as this package reads them without running what is in them."""

import bz2
import gzip
import json
import lzma
import random
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from exporting import write_spec
from fuzz_tools import Kind, change, mutate

from onnxpack.core.errors import OnnxpackError
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.torch_models import look_at_weights
from onnxpack.sources.estimators import files
from onnxpack.sources.torch.weights import load_weights
from onnxpack.spec.load import load

STATE = {"0.weight": torch.ones(2, 4), "0.bias": torch.zeros(2)}
_CODE = (
    b"import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        self.fc = torch.nn.Linear(4, 2)\n"
)
_NAMES = (
    "0.weight",
    "0.bias",
    "fc1.weight",
    "embed.weight",
    "",
    "é\n",
    "layer" + "1" * 5000 + ".weight",
    "__metadata__",
)
_SHAPES = ([2, 4], [2], [], [0], [2**40], [2**63, 2**63], [2**62, 0], [-1], [1] * 50, [1.5], ["a"], [None], 4, None)


def safetensors(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Return a file with this header, and a length in front of it that may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + data


def _safetensors(chance: random.Random) -> bytes:
    data = bytes(40)
    header: Any = {
        "__metadata__": {"format": "pt"},
        "0.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
        "0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [32, 40]},
    }
    length = None
    match chance.randrange(9):
        case 0:
            header = change(chance, header)
        case 1:
            header["0.bias"]["shape"] = chance.choice(_SHAPES)
        case 2:
            header["0.bias"]["data_offsets"] = chance.choice(
                ([32, 2**63], [40, 32], [0, 8], [-1, 40], [32, 40, 41], [33, 41])
            )
        case 3:
            dtype = chance.choice(("F64", "I64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64", "U16", "BF16", "x", ""))
            header["0.bias"] |= {"dtype": dtype, "shape": [chance.choice((1, 2, 4, 8, 16))]}
        case 4:
            header[chance.choice(_NAMES)] = header.pop("0.bias")
        case 5:
            length = chance.choice((0, 1, 10**8, 2**31, 2**63, 2**64 - 1))
        case 6:
            header = chance.choice(
                (b"", b"{}", b"[" * 5000, b'{"a":' * 5000, b"\xff", b"null", json.dumps(header).encode())
            )
    made = safetensors(header, data[: chance.choice((40, 40, 40, 40, 40, 40, 39, 0))], length)
    return made if chance.randrange(3) else mutate(chance, made)


def write_net(folder: Path, weights: str, key: str | None) -> None:
    """Write a spec of a module with these weights."""
    (folder / "net.py").write_bytes(_CODE)
    model = {"framework": "torch", "factory": "net.py:Net", "weights": weights} | ({"weights_key": key} if key else {})
    write_spec(folder, model)


def _make_safetensors(chance: random.Random, folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(_safetensors(chance))
    write_net(folder, "w.safetensors", None if chance.randrange(6) else "a.b")
    if chance.randrange(4) == 0:
        (folder / "net.py").write_bytes(mutate(chance, _CODE))


def write_shards(folder: Path, odd: str | None) -> None:
    """Write two shards and their index, in which one more tensor lies in a shard called ``odd``."""
    names = {"0.weight": "a.safetensors", "0.bias": "b.safetensors"}
    for name, shard in names.items():
        header = {name: {"dtype": "F32", "shape": list(STATE[name].shape), "data_offsets": [0, STATE[name].nbytes]}}
        (folder / shard).write_bytes(safetensors(header, bytes(STATE[name].nbytes)))
    (folder / "loop").symlink_to("loop")
    more = {} if odd is None else {"more": odd}
    (folder / "w.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names | more}))
    write_net(folder, "w.safetensors.index.json", None)


def _make_shards(chance: random.Random, folder: Path) -> None:
    odd = (
        "../a.safetensors",
        "\0",
        "",
        ".",
        "x" * 300,
        "/dev/zero",
        "w.safetensors.index.json",
        "\ud800",
        "net.py",
        "loop",
    )
    write_shards(folder, chance.choice(odd) if chance.randrange(2) else None)
    path = folder / "w.safetensors.index.json"
    if chance.randrange(2):
        path.write_text(json.dumps(change(chance, json.loads(path.read_text()))))
    if chance.randrange(3) == 0:
        path.write_bytes(mutate(chance, path.read_bytes()))


class _Odd:
    """Refused by a loader of weights alone."""


def cyclic() -> Any:
    """Return a mapping that holds itself."""
    content: dict[str, Any] = {"state_dict": STATE}
    content["again"] = content
    return content


def fan(width: int, depth: int) -> Any:
    """Return mappings of which each holds the next one many times: a few bytes that stand for very many."""
    content: Any = {"a": 1}
    for _ in range(depth):
        content = {f"k{number}": content for number in range(width)}
    return content


@cache
def _quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they will go from torch, and stay in files
        return torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8)


def _content(chance: random.Random) -> Any:
    tensor = chance.choice((
        torch.ones(2), torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.ones(2, device="meta"),
        torch.ones(1).expand(2), torch.empty(0, 2**40), torch.ones(()), torch.ones(2, dtype=torch.bfloat16),
        torch.ones(3), _quantized(),
    ))  # fmt: skip
    name: Any = chance.choice((*_NAMES, 0, 1.5, None, ("a",), b"a", True))
    return chance.choice((
        STATE, STATE, STATE, STATE | {name: tensor}, {"0.weight": STATE["0.weight"], "0.bias": tensor},
        {"state_dict": STATE, name: 1},
        {"a": {"b": STATE}, name: STATE}, {}, [], None, 1, "x", tensor, [STATE], {name: {name: {}}}, cyclic(),
        fan(30, 5),
        OrderedDict(STATE), {"state_dict": _Odd()}, {name: STATE}, {"0": {"weight": tensor}},
    ))  # fmt: skip


def write_checkpoint(path: Path, content: Any, *, old: bool = False) -> None:
    """Save as torch does now, or as it did before version 1.6."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its older kinds of tensors
        torch.save(content, path, _use_new_zipfile_serialization=not old)


def _make_checkpoint(chance: random.Random, folder: Path) -> None:
    path = folder / "w.pt"
    write_checkpoint(path, _content(chance), old=chance.randrange(4) == 0)
    match chance.randrange(4):
        case 0:
            path.write_bytes(mutate(chance, path.read_bytes()))
        case 1 if zipfile.is_zipfile(path):
            _repack(chance, path)
    write_net(folder, "w.pt", chance.choice((None, None, None, None, "a.b", "state_dict", "0", "k0.k1", ".", "a..b")))


def _repack(chance: random.Random, path: Path) -> None:
    """Change the pickle inside, and leave the archive around it whole."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name, mutate(chance, data) if name.endswith("data.pkl") else data)


def read_weights(folder: Path) -> bool:
    """Fill a module with them, and draft a spec for them."""
    file = load(folder / "spec.yaml")
    name = str(file.spec.model.weights_file)
    refusals: list[Exception] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        try:
            load_weights(torch.nn.Sequential(torch.nn.Linear(4, 2)), file)
        except OnnxpackError as error:
            refusals.append(error)
        if not name.endswith(".json"):
            draft = Draft({"onnxpack": 1, "name": "a", "model": {"framework": "torch", "weights": name}})
            drafted = look_at_weights(draft, folder / "drafted.yaml")
            drafted.text()
            drafted.file(folder / "drafted.yaml")
    if refusals:
        raise refusals[0]
    return True


def _make_estimator(chance: random.Random, folder: Path) -> None:
    """Make a file that no loader takes: its head is searched for the version that saved it."""
    compress = chance.choice((bytes, zlib.compress, gzip.compress, bz2.compress, lzma.compress))
    version = chance.choice((b"0.1", b"1.7.2", b"9" * 50, b"1." + b"9" * 40, b"\xff"))
    inside = chance.choice((b"\x80\x04", b"", b"x")) + b"_sklearn_version\x94\x8c\x05" + version
    data = compress(inside + bytes(chance.choice((0, 1000, 1000, 1000, 20_000_000))))
    (folder / "m.joblib").write_bytes(data if chance.randrange(2) else mutate(chance, data))


def read_estimator(folder: Path) -> bool:
    """Look for the version that saved it. Nothing is unpickled: what is trusted may take what it wants."""
    return files._find_saved_version((folder / "m.joblib").read_bytes()) is not None


WEIGHTS = (
    Kind("safetensors", _make_safetensors, read_weights, share=6),
    Kind("shards", _make_shards, read_weights, share=3),
    Kind("checkpoint", _make_checkpoint, read_weights, share=2, allowance=150),
    Kind("estimator head", _make_estimator, read_estimator),
)
