"""A build compares its own rendered modules with the libraries of training, and stops where they differ."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_examples import PICTURES, TEXTS

from onnxpack.bundle.render import render_step_modules
from onnxpack.core.errors import GateError
from onnxpack.intake import check
from onnxpack.intake.check import check_intakes
from onnxpack.spec.intakes import list_intakes
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.tokenizer_file import read_tokenizer

SPEC = """
onnxpack: 1
name: both
model: {framework: onnx, path: model.onnx}
inputs:
  image: {dtype: uint8, shape: [batch, 4, 6, 3]}
  input_ids: {dtype: int64, shape: [batch, tokens]}
  attention_mask: {dtype: int64, shape: [batch, tokens]}
outputs: [y]
dynamic_axes: {batch: [1, 8], tokens: {min: 1, opt: 8, max: 12}}
preprocess:
  - {op: decode, input: image, formats: [png]}
  - {op: resize, input: image, size: [4, 6]}
  - {op: tokenize, input: text, tokenizer: tokenizer.json}
"""
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "the": 1, "one": 2}, "unk_token": "[UNK]"},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecFile:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tmp_path / "spec.yaml").write_text(SPEC)
    # Fewer texts: how many there are is tested where they are compared.
    monkeypatch.setattr(check, "compare_texts", lambda *parts: compare_texts(*parts, 40))
    return load(tmp_path / "spec.yaml")


compare_texts = check.compare_texts


def render(file: SpecFile) -> dict[str, str]:
    """The modules of an image of the spec."""
    view = replace(
        PICTURES,
        inputs=(*PICTURES.inputs, *TEXTS.inputs[:1]),
        axes=tuple(replace(axis, max=12) if axis.name == "tokens" else axis for axis in TEXTS.axes),
        intakes=list_intakes(file.spec),
        tokenizers={"tokenizer.json": read_tokenizer(file.resolve("tokenizer.json"))},
    )
    return render_step_modules(view)


def test_what_is_right_has_figures(file: SpecFile) -> None:
    found = check_intakes(file, render(file), {"1.tokenizer.json": file.resolve("tokenizer.json")})
    (picture,) = found.pictures
    assert (picture.name, picture.largest, picture.differing) == ("image", 0.0, 0.0)
    assert picture.pictures > 10
    assert picture.refused > 5
    assert [(text.name, text.texts) for text in found.texts] == [("text", 40)]


@pytest.mark.parametrize(
    ("module", "right", "wrong", "message"),
    [
        ("pictures.py", "BILINEAR", "NEAREST", "input 'image': a .* differs by"),
        ("texts.py", "int64", "int32", "the module's tokens of 'text' are not those of training"),
    ],
)
def test_a_module_that_does_otherwise_fails_the_build(
    file: SpecFile, module: str, right: str, wrong: str, message: str
) -> None:
    modules = render(file)
    assert right in modules[module]
    broken = {**modules, module: modules[module].replace(right, wrong)}
    with pytest.raises(GateError, match=message):
        check_intakes(file, broken, {"1.tokenizer.json": file.resolve("tokenizer.json")})
