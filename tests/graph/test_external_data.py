"""Models over the limit are edited without their weights, which end in one file beside the model, byte for byte."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from onnx import helper
from onnx_examples import FLOAT, constant, make_model

from onnxpack.core.errors import SourceError
from onnxpack.graph import external_data
from onnxpack.parity.compare import require_parity

WEIGHTS = [np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32) for seed in range(3)]


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "EXTERNAL_DATA_OVER", 100)


def chain(folder: Path, spread: bool, batch: Any = "b", **fields: Any) -> Path:
    """Save ``y = x @ w0 @ w1 @ w2`` with its weights in one file or in one each; nobody may have loaded them later."""
    names = ["x", "t0", "t1", "y"]
    nodes = [helper.make_node("MatMul", [names[index], f"w{index}"], [names[index + 1]]) for index in range(3)]
    values = [[(name, FLOAT, [batch, 4])] for name in "xy"]
    model = make_model(nodes, *values, [constant(f"w{index}", array) for index, array in enumerate(WEIGHTS)], **fields)
    (folder / "model").mkdir()
    path = folder / "model" / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=not spread, size_threshold=0,
              location=None if spread else "weights.bin")  # fmt: skip
    return path


def export(folder: Path, **fields: Any) -> Made:
    file = write_spec(folder, {"framework": "onnx", "path": "model/m.onnx"}, **fields)
    return export_here(file, folder / "out")


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("opset", [None, 21])
@pytest.mark.parametrize("batch", ["b", 8])
def test_a_large_model_goes_through_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: bool, opset: int | None, batch: int | str
) -> None:
    chain(tmp_path, spread, batch)
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "load_external_data_for_model", lambda *_: pytest.fail("the weights were loaded"))
        made = export(tmp_path, **({"opset": opset} if opset else {}))
    assert sorted(path.name for path in made.folder.iterdir()) == ["model.onnx", "model.onnx.data", "reference"]
    assert made.model.path.stat().st_size < 1000
    assert made.model.opset == (opset or 17)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.proto.graph.initializer}
    for index, array in enumerate(WEIGHTS):
        np.testing.assert_array_equal(tensors[f"w{index}"], array)
    require_parity("outside", made.rows())
    assert (tmp_path / "model" / "m.onnx").exists(), "the user's files stay"
    assert all(path.is_file() and not path.is_symlink() for path in (made.folder / "reference").iterdir())


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    path = chain(tmp_path, spread=False)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer[1:]:
        external_data._point_to(tensor, "weights.bin", 0)
    onnx.save(model, path)
    made = export(tmp_path)
    assert (made.folder / "model.onnx.data").stat().st_size == WEIGHTS[0].nbytes
    require_parity("tied", made.rows())


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    chain(tmp_path, spread=True)
    digests = []
    for name in "ab":
        file = write_spec(tmp_path, {"framework": "onnx", "path": "model/m.onnx"})
        folder = export_here(file, tmp_path / name).folder
        digests.append([(folder / part).read_bytes() for part in ("model.onnx", "model.onnx.data")])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("offset", "length", "words"), [(0, 32, "has 32 bytes"), (None, None, "has 128 bytes")])
def test_data_of_another_length_is_told(
    tmp_path: Path, offset: int | None, length: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chain(tmp_path, spread=True)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[1]
    del tensor.external_data[1:]
    (path.parent / "w1").write_bytes(b"\0" * 128)
    if length:
        entry = tensor.external_data.add()
        entry.key, entry.value = "length", str(length)
    onnx.save(model, path)
    with pytest.raises(SourceError, match=f"the data of 'w1' {words}, its shape needs 64"):
        export(tmp_path)
