"""Documents that a reader once failed on, each with what it did: written as small as they can be."""

import bz2
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from command_line import SMALL
from fuzz_arrays import head, magic, write_bomb
from fuzz_kept import write_answer, write_result, write_traces
from fuzz_onnx import broken_text
from fuzz_specs import EVERYTHING
from fuzz_texts import REPORT, write_lock, write_report
from fuzz_weights import STATE, fan, safetensors, write_checkpoint, write_net, write_shards
from onnx_examples import FLOAT, RELU, external_model, make_model

_RESIZES = """\
inputs: {image: {dtype: uint8, shape: [batch, h, w, 3]}}
preprocess: [{op: resize, input: image, size: [8, 8]}]
"""
_LABELS = (8, *(1,) * 80)
"""More axes than an array of numpy may have."""


def _npz(folder: Path, method: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    (folder / "m.onnx").touch()
    with zipfile.ZipFile(folder / "d.npz", "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def _bomb(folder: Path, method: int, megabytes: int, shape: tuple[int, ...]) -> None:
    (folder / "m.onnx").touch()
    write_bomb(folder / "d.npz", method, megabytes, shape)


def _spec(folder: Path, text: str) -> None:
    for name in ("model.onnx", "w.pt", "s.npz", "d.npz", "m.py"):
        (folder / name).touch()
    (folder / "spec.yaml").write_text(text)


def _settings(folder: Path, *settings: str) -> None:
    _spec(folder, SMALL)
    (folder / "settings.json").write_text(json.dumps(settings))


def _report(folder: Path, **changes: Any) -> None:
    write_report(folder, json.dumps(REPORT | changes).encode())
    (folder / "iris" / "cpu" / "loop").symlink_to("loop")


def _weights(folder: Path, content: Any) -> None:
    write_checkpoint(folder / "w.pt", content)
    write_net(folder, "w.pt", None)


def _long_key(folder: Path) -> None:
    header = {f"fc{'1' * 5000}.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}}
    (folder / "w.safetensors").write_bytes(safetensors(header, bytes(32)))
    write_net(folder, "w.safetensors", None)


def _estimator(folder: Path, data: bytes) -> None:
    (folder / "m.joblib").write_bytes(data)


def _onnx(folder: Path, data: bytes) -> None:
    (folder / "model.onnx").write_bytes(data)


def _external(folder: Path, data_type: int) -> None:
    model = external_model(location="w.bin")
    model.graph.initializer[0].data_type = data_type
    (folder / "w.bin").write_bytes(bytes(64))
    _onnx(folder, model.SerializeToString())


def _axes(count: int) -> bytes:
    inputs = [(f"x{number}", FLOAT, [f"{'b' * 60}{number}.{place}" for place in range(8)]) for number in range(count)]
    return make_model(RELU, inputs).SerializeToString()


FOUND: dict[str, tuple[str, Callable[[Path], None]]] = {
    # Memory: a head of 100 MB, 120 MB of zeros in a hundred bytes, more rows than the axis allows.
    "a head of 2 GB in samples": (
        "samples", lambda folder: _npz(folder, zipfile.ZIP_DEFLATED, x=magic(2, 2**31 - 1) + bytes(100 * 2**20))),
    "a head of 2 GB in data": (
        "data", lambda folder: _npz(folder, zipfile.ZIP_DEFLATED, x=magic(2, 2**31 - 1) + bytes(100 * 2**20), y=b"")),
    "bzip2 in samples": ("samples", lambda folder: _bomb(folder, zipfile.ZIP_BZIP2, 128, (8, 4))),
    "more rows than the axis": ("samples", lambda folder: _bomb(folder, zipfile.ZIP_DEFLATED, 128, (2**23, 4))),
    "handed arrays that are compressed": (
        "handed arrays", lambda folder: _bomb(folder, zipfile.ZIP_DEFLATED, 128, (2**23, 4))),
    # ValueError of numpy, TypeError of numpy
    "labels of 81 axes": (
        "data", lambda folder: _npz(folder, x=head("<f4", (8, 4)) + bytes(128), y=head("<f4", _LABELS) + bytes(32))),
    # OSError: a name of 300 characters
    "extends a long name": ("spec", lambda folder: _spec(folder, f"extends: {'x' * 300}\n{SMALL}")),
    # AttributeError: a rule read a model that could not be decoded
    "no model for a step that resizes": (
        "spec", lambda folder: _spec(folder, f"onnxpack: 1\nname: a\nmodel: 1\n{_RESIZES}")),
    # RecursionError
    "a setting ten thousand deep": ("settings", lambda folder: _settings(folder, f"{'a.' * 10_000}b=1")),
    # ValueError of int()
    "a lock of a version of 5,000 digits": ("lock", lambda folder: write_lock(folder, "9" * 5000)),
    # It waited for ever.
    "a lock that is a pipe": ("lock", lambda folder: os.mkfifo(folder / "spec.lock")),
    # OverflowError
    "a size that no float holds": ("report", lambda folder: _report(folder, smoke={"peak_rss_bytes": 10**400})),
    # ValueError
    **{f"a trace of the {part} {name!r}": ("traces", lambda folder, one=(part, name): write_traces(folder, *one))
       for part, name in (("files", "\0"), ("folders", "\0"), ("imports", "\0"), ("modules", "onnxpack./"),
                          ("distributions", ""))},
    # ValueError, UnicodeEncodeError, RuntimeError, OSError
    **{f"a shard called {name[:5]!r}": ("shards", lambda folder, name=name: write_shards(folder, name))
       for name in ("\0", "\ud800", "loop", "x" * 300)},
    # AttributeError, RuntimeError of torch; ten million places of a state dict
    "a key that is a number": ("checkpoint", lambda folder: _weights(folder, STATE | {1.5: torch.ones(2)})),
    "a sparse tensor": ("checkpoint", lambda folder: _weights(folder, STATE | {"0.bias": torch.ones(2).to_sparse()})),
    "a tensor without data": (
        "checkpoint", lambda folder: _weights(folder, STATE | {"0.bias": torch.ones(2, device="meta")})),
    "mappings of each other": ("checkpoint", lambda folder: _weights(folder, fan(300, 5))),
    # ValueError of int()
    "a key of 5,000 digits": ("safetensors", _long_key),
    # An error without a word
    "an answer without a word": (
        "answer", lambda folder: write_answer(folder, exit_code=3, problems=[{"message": ""}])),
    # It was taken.
    "an answer with a number for a digest": (
        "answer", lambda folder: write_answer(folder, result=msgspec.msgpack.encode({"files": ["a", 1]}), trace={})),
    # ValueError
    "a stored result of another form": ("stored result", lambda folder: write_result(folder, b"\xc0")),
    # Memory: a megabyte that stands for 200
    "zeros in zlib": ("estimator head", lambda folder: _estimator(folder, zlib.compress(bytes(200 * 2**20)))),
    "zeros in bzip2": ("estimator head", lambda folder: _estimator(folder, bz2.compress(bytes(200 * 2**20)))),
    # TypeError: protobuf gives bytes for a string that is no text
    "a name that is no text": (
        "onnx head", lambda folder: _onnx(folder, broken_text(make_model(RELU).SerializeToString(), b"x"))),
}  # fmt: skip
"""By what is wrong: the kind of document, and who writes it."""

LOADED: dict[str, Callable[[Path], None]] = {
    "a name that is no text": lambda folder: _onnx(folder, broken_text(make_model(RELU).SerializeToString(), b"x")),
    "external data of no dtype": lambda folder: _external(folder, 0),
    "external data of an unknown dtype": lambda folder: _external(folder, 99),
    "thousands of axes of one word": lambda folder: _onnx(folder, _axes(2000)),
}
"""The same for models that are loaded: onnxruntime may take the process down that does it."""

TAKEN: dict[str, tuple[str, Callable[[Path], None]]] = {
    # A duration was refused when it came back from a child process.
    "a spec with a duration": ("spec", lambda folder: _spec(folder, EVERYTHING)),
    # TypeError of numpy, where it has eight rows
    "a size that is a truth": ("samples", lambda folder: _npz(folder, x=head("<f4", (True, 4)) + bytes(16))),
    # KeyError, ValueError, UnicodeEncodeError, RuntimeError, OSError: what such a report is of is no spec that stands
    "a report that calls itself a model": ("report", lambda folder: _report(folder, kind="onnx")),
    "a report of a spec with NUL": ("report", lambda folder: _report(folder, spec="a\0b")),
    "a report of half a character": ("report", lambda folder: _report(folder, spec="\ud800")),
    "a report of a spec in a circle": ("report", lambda folder: _report(folder, spec="loop")),
    "a report of a spec of a long name": ("report", lambda folder: _report(folder, spec="x" * 300)),
    # It went to the terminal as it was.
    "a note that steers the terminal": ("report", lambda folder: _report(folder, parity={"notes": ["\x1b[2J"]})),
    # OSError
    "external data of a long name": (
        "onnx head", lambda folder: _onnx(folder, external_model(location="x" * 300).SerializeToString())),
}  # fmt: skip
"""Documents that are good, or whose fault is not their reader's to judge, and that it failed on."""
