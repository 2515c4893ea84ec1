"""The examples of torch packages agree with their sources."""

import shutil
from pathlib import Path

import pytest
from exporting import Made, export_in_child

from onnxpack.parity.compare import require_parity
from onnxpack.spec.load import SpecFile, load

SPECS = Path(__file__).parents[2] / "specs"
OUTPUTS = {
    "lightning": [("value", ("batch",)), ("size", ("batch",))],
    "timm": [("logits", ("batch", 10))],
    "torchvision": [("logits", ("batch", 10))],
    "transformers": [("logits", ("batch", 3))],
}


def exported(name: str, folder: Path) -> tuple[SpecFile, Made]:
    """A copy of the example, so that nothing is written beside it, exported as a build does."""
    copy = shutil.copytree(SPECS / name, folder / "example", ignore=shutil.ignore_patterns("__pycache__"))
    file = load(copy / "spec.yaml")
    return file, export_in_child(file, folder / "made")


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_example_agrees_with_its_source(name: str, tmp_path: Path) -> None:
    file, made = exported(name, tmp_path)
    assert made.model.inputs == file.spec.input_infos
    assert made.model.opset == file.spec.opset
    assert [(info.name, info.shape) for info in made.model.outputs] == OUTPUTS[name]
    require_parity(name, made.rows())


def test_the_lightning_example_takes_the_trained_weights(tmp_path: Path) -> None:
    _, made = exported("lightning", tmp_path)
    assert list(made.trace.files) == ["model.py", "weights/last.ckpt"]
