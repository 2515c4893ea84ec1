"""Weights as training leaves them: in shards, in a Lightning checkpoint, below a prefix, of a wrapped module."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from canary import Canary
from exporting import export_in_child
from safetensors.torch import save_file
from torch_nets import LINEAR, STATE, net, refusal

from onnxpack.sources.torch import load, run, weights

ROWS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
ANSWER = ROWS["x"] @ STATE["linear.weight"].numpy().T + STATE["linear.bias"].numpy()
PREFIXED = {f"model.{name}": tensor for name, tensor in STATE.items()}
LIGHTNING = {
    "epoch": 3,
    "pytorch-lightning_version": "2.5.0",
    "state_dict": PREFIXED | {"loss.weight": torch.ones(2)},
    "optimizer_states": [{"state": {}}],
    "hyper_parameters": {"width": 2},
}
INDEX = "model.safetensors.index.json"


def shards(folder: Path, ending: str = "safetensors", **changes: Any) -> None:
    """Two shards, each with one tensor, and their index."""
    names = {name: f"model-0000{number}-of-00002.{ending}" for number, name in enumerate(STATE, 1)}
    for name, file in names.items():
        if ending == "safetensors":
            save_file({name: STATE[name]}, folder / file)
        else:
            torch.save({name: STATE[name]}, folder / file)
    index = {"metadata": {"total_size": 40}, "weight_map": names | changes}
    (folder / f"model.{ending}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_sharded_weights_are_joined(tmp_path: Path, ending: str) -> None:
    shards(tmp_path, ending)
    model = load(net(tmp_path, weights=f"model.{ending}.index.json"))
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-6)


def test_every_shard_counts_as_read(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shards(project)
    made = export_in_child(net(project, weights=INDEX, exporter="torchscript"), tmp_path / "made")
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert list(made.trace.files) == [*names, "model.py", INDEX]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linear.bias": "gone.safetensors"}, "names 'gone.safetensors', which is not a file here"),
        ({"linear.bias": "../out.safetensors"}, "names '../out.safetensors', which is not a file here"),
        ({"linear.bias": "/etc/passwd"}, "names '/etc/passwd', which is not a file here"),
        ({"linear.bias": INDEX}, f"names '{INDEX}', which is not a file here"),
        (
            {"linear.bias": "model-00001-of-00002.safetensors"},
            "'model-00001-of-00002.safetensors' lacks tensors of the index: linear.bias",
        ),
    ],
    ids=["missing", "outside", "absolute", "itself", "elsewhere"],
)
def test_an_index_that_does_not_fit_its_shards_is_told(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    save_file({"linear.bias": STATE["linear.bias"]}, tmp_path / "out.safetensors")
    shards(folder, **changes)
    assert words in refusal(net(folder, weights=INDEX))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "\x80"])
def test_a_file_that_is_no_index_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text, encoding="latin-1")
    assert f"'{INDEX}' is not an index of shards (give it a `weight_map`" in refusal(net(tmp_path, weights=INDEX))


def test_a_lightning_checkpoint_needs_no_key(tmp_path: Path) -> None:
    torch.save(LIGHTNING | {"state_dict": PREFIXED}, tmp_path / "last.ckpt")
    model = load(net(tmp_path, weights="last.ckpt", factory="model.py:Wrapped"))
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-6)


def test_keys_with_a_prefix_say_what_to_write_and_that_works(tmp_path: Path) -> None:
    torch.save(LIGHTNING, tmp_path / "last.ckpt")
    message = refusal(net(tmp_path, weights="last.ckpt"))
    assert "(the file's keys begin with 'model.': set `weights_key: state_dict.model`)" in message
    model = load(net(tmp_path, weights="last.ckpt", weights_key="state_dict.model"))
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-6)


def test_a_prefix_is_taken_off_in_safetensors_too(tmp_path: Path) -> None:
    save_file({f"_orig_mod.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "w.safetensors")
    assert "set `weights_key: _orig_mod`)" in refusal(net(tmp_path, weights="w.safetensors"))
    model = load(net(tmp_path, weights="w.safetensors", weights_key="_orig_mod"))
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-6)


def test_weights_of_a_part_of_the_model_are_told(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    message = refusal(net(tmp_path, weights="w.pt", factory="model.py:Wrapped"))
    assert "(the model's keys begin with 'model.': let the factory return that part" in message


def test_a_checkpoint_without_a_key_lists_its_state_dicts(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "ema": {"model": STATE}, "net": STATE, "losses": [1.0]}, tmp_path / "w.pt")
    message = refusal(net(tmp_path, weights="w.pt"))
    assert "(set `weights_key` to one of: ema.model, net)" in message


def test_a_class_in_a_checkpoint_is_not_loaded_and_told(tmp_path: Path) -> None:
    torch.save(LIGHTNING | {"hyper_parameters": Path("data")}, tmp_path / "last.ckpt")
    message = refusal(net(tmp_path, LINEAR, weights="last.ckpt"))
    assert message.startswith("cannot load the weights in 'last.ckpt': ")
    assert "a state dict of tensors alone" in message


TIED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 4)
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.seen = [self.head.weight]

    def forward(self, x):
        return self.head(self.embedding(x)) + self.seen[0].sum()
"""


def test_tied_weights_may_stand_in_the_file_once_and_stay_tied(tmp_path: Path) -> None:
    table = torch.arange(28.0).reshape(7, 4)
    save_file({"embedding.weight": table}, tmp_path / "w.safetensors")
    inputs = {"inputs": {"x": {"dtype": "int64", "shape": ["n"], "range": [0, 6]}}}
    model = load(net(tmp_path, TIED, inputs, weights="w.safetensors"))
    assert model.head.weight is model.embedding.weight
    answer = run(model, {"x": np.array([2, 6])})[0]
    np.testing.assert_allclose(answer, (table[[2, 6]] @ table.T + table.sum()).numpy())


def test_equal_weights_that_are_not_tied_must_all_be_there(tmp_path: Path) -> None:
    code = TIED.replace(
        "self.head.weight = self.embedding.weight", "self.head.weight.data.copy_(self.embedding.weight)"
    )
    save_file({"embedding.weight": torch.zeros(7, 4)}, tmp_path / "w.safetensors")
    assert "1 tensor is missing in the file: head.weight" in refusal(net(tmp_path, code, weights="w.safetensors"))


@pytest.mark.parametrize("size", [1, 33, 1 << 28])
def test_tensors_are_read_some_at_a_time_and_get_the_models_dtype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(weights, "_BATCH", size)
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in STATE.items()}, tmp_path / "w.safetensors")
    read: list[int] = []
    taken = weights._read
    monkeypatch.setattr(weights, "_read", lambda *place: _noted(read, taken(*place)))
    model = load(net(tmp_path, weights="w.safetensors"))
    assert read == {1: [1, 1], 33: [2], 1 << 28: [2]}[size]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    np.testing.assert_allclose(run(model, ROWS)[0], ANSWER, rtol=1e-2)


def _noted(read: list[int], part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    read.append(len(part))
    return part


@pytest.mark.parametrize("form", ["shard", "lightning"])
def test_hostile_shards_and_checkpoints_run_nothing(tmp_path: Path, form: str) -> None:
    canary = Canary(tmp_path / "ran")
    if form == "shard":
        shards(tmp_path, "bin")
        place, weights = tmp_path / "model-00002-of-00002.bin", "model.bin.index.json"
        torch.save({"linear.bias": canary}, place)
    else:
        place, weights = tmp_path / "last.ckpt", "last.ckpt"
        torch.save(LIGHTNING | {"hyper_parameters": canary}, place)
    assert f"cannot load the weights in '{place.name}'" in refusal(net(tmp_path, weights=weights))
    assert not canary.path.exists()
    torch.load(place, weights_only=False)
    assert canary.path.exists(), "the canary must be able to sing"
