import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from onnxpack.core.errors import SourceError
from onnxpack.inspection.weights import first_layer, read_weights

STATE = {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}
SHAPES = {"fc.weight": (3, 4), "fc.bias": (3,)}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (STATE, None),
        ({"model": STATE, "epoch": 3}, "model"),
        ({"checkpoint": {"model": STATE}, "epoch": 3}, "checkpoint.model"),
        ({"ema": {"model": STATE}, "state_dict": STATE}, "state_dict"),
        ({"optimizer": {"state": {0: {"exp_avg": torch.zeros(900)}}}, "anything": STATE}, "anything"),
        ({"a.b": STATE}, "a.b"),
        ({"small": {"x": torch.zeros(1)}, "large": STATE}, "large"),
    ],
)
def test_the_state_dict_is_found(tmp_path: Path, content: Any, key: str | None) -> None:
    torch.save(content, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert (found.key, found.shapes, found.in_order) == (key, SHAPES, True)
    assert found.notes[0] == "2 tensors with 15 numbers"


def test_other_state_dicts_and_data_parallel_are_told(tmp_path: Path) -> None:
    torch.save({"model": {"module.w": torch.zeros(2)}, "ema": STATE}, tmp_path / "w.ckpt")
    notes = read_weights(tmp_path / "w.ckpt").notes
    assert "weights_key may be ema" in notes[1]
    assert "'module.'" in notes[2]


def test_safetensors_are_read_without_torch(tmp_path: Path) -> None:
    save_file(
        {"fc.weight": np.zeros((3, 4), np.float32), "fc.bias": np.zeros(3, np.float16)}, tmp_path / "w.safetensors"
    )
    found = read_weights(tmp_path / "w.safetensors")
    assert (found.key, found.shapes, found.in_order) == (None, SHAPES, False)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.pt", b""), ("w.pt", b"PK\x03\x04torn"), ("w.pth", pickle.dumps(Evil())), ("w.safetensors", b""),
        ("w.safetensors", b"\xff" * 64), ("w.safetensors", (2).to_bytes(8, "little") + b"{}"),
    ],
)  # fmt: skip
def test_broken_and_hostile_files_are_refused(
    tmp_path: Path, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    with pytest.raises(SourceError):
        read_weights(Path(name))
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(2), {"deep": {"er": 1}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SourceError, match="no state dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("shapes", "dtype", "shape", "range_"),
    [
        ({"fc.weight": (3, 4), "fc.bias": (3,)}, "float32", ("batch", 4), None),
        ({"conv1.weight": (8, 3, 7, 7), "fc.weight": (10, 8)}, "float32", ("batch", 3, 224, 224), None),
        ({"embedding.weight": (1000, 16), "fc.weight": (2, 16)}, "int64", ("batch", "seq"), (0, 999)),
        ({"embed.weight": (16, 5), "embed.bias": (16,)}, "float32", ("batch", 5), None),
        ({"rnn.weight_ih_l0": (64, 9), "rnn.weight_hh_l0": (64, 16)}, "float32", ("batch", "seq", 9), None),
        ({"conv.weight": (8, 2, 5)}, "float32", ("batch", 2, 224), None),
        ({"scale": ()}, "float32", ("batch", 1), None),
    ],
)
def test_the_first_layer_is_guessed(shapes: Any, dtype: str, shape: Any, range_: Any) -> None:
    guess = first_layer(shapes, in_order=True)
    assert (guess.dtype, guess.shape, guess.range) == (dtype, shape, range_)
    assert guess.words.startswith("check: ")


def test_sorted_keys_are_judged_by_their_names() -> None:
    shapes = {
        "attention.weight": (16, 16),
        "layers.10.weight": (4, 5),
        "layers.0.weight": (6, 7),
        "head.weight": (1, 9),
    }
    assert first_layer(shapes, in_order=False).shape == ("batch", 7)
