"""Cases of a client's pictures and texts: their requests, and the tensors that the libraries make of them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxpack.intake.cases import ClientCase, make_cases
from onnxpack.spec.load import SpecFile, load

PICTURES = """
onnxpack: 1
name: pictures
model: {framework: onnx, path: model.onnx}
inputs:
  image: {dtype: float32, shape: [batch, 3, 8, 6]}
  weight: {dtype: float32, shape: [batch], range: [0, 1]}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 4, max: 9}}
preprocess:
  - {op: decode, input: image, formats: [jpeg, png]}
  - {op: resize, input: image, size: [8, 6]}
  - {op: cast, input: image, dtype: uint8}
  - {op: layout, input: image, layout: NHWC}
"""
TEXTS = """
onnxpack: 1
name: texts
model: {framework: onnx, path: model.onnx}
inputs:
  input_ids: {dtype: int64, shape: [batch, tokens]}
  attention_mask: {dtype: int64, shape: [batch, tokens]}
outputs: [y]
dynamic_axes: {batch: [1, 8], tokens: {min: 1, opt: 8, max: 12}}
preprocess:
  - {op: tokenize, input: text, tokenizer: tokenizer.json, max_length: 12}
"""
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "the": 1, "one": 2}, "unk_token": "[UNK]"},
}  # fmt: skip


def write(folder: Path, spec: str) -> SpecFile:
    (folder / "model.onnx").touch()
    (folder / "spec.yaml").write_text(spec)
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return load(folder / "spec.yaml")


def list_cases(folder: Path, spec: str) -> list[ClientCase]:
    return list(make_cases(write(folder, spec)))


def test_pictures_of_many_kinds_are_sent_beside_other_inputs(tmp_path: Path) -> None:
    cases = list_cases(tmp_path, PICTURES)
    pictures = []
    for case in cases:
        image, weight = case.request["inputs"]
        assert (image["name"], image["datatype"], weight["datatype"]) == ("image", "BYTES", "FP32")
        assert image["shape"] == weight["shape"] == [case.sizes["batch"]] == [len(image["data"])]
        pictures += [Image.open(io.BytesIO(base64.b64decode(text))) for text in image["data"]]
        assert (case.sent["image"].shape, case.sent["image"].dtype) == ((len(image["data"]), 8, 6, 3), np.uint8)
        assert np.float32(weight["data"]).tolist() == case.sent["weight"].tolist()
    assert {one.format for one in pictures} == {"JPEG", "PNG"}
    assert {one.mode for one in pictures} == {"RGB", "L", "RGBA", "P"}
    assert len({one.size for one in pictures}) > 2
    assert {case.sizes["batch"] for case in cases} == {1, 2, 4, 5}
    assert len({case.name for case in cases}) == len(cases)


def test_the_same_spec_gives_the_same_cases(tmp_path: Path) -> None:
    once, again = (list_cases(tmp_path, PICTURES) for _ in range(2))
    assert [case.request for case in once] == [case.request for case in again]


def test_texts_are_those_whose_tokens_fit(tmp_path: Path) -> None:
    cases = list_cases(tmp_path, TEXTS)
    for case in cases:
        (text,) = case.request["inputs"]
        assert (text["name"], text["datatype"]) == ("text", "BYTES")
        assert case.sent["input_ids"].shape == (len(text["data"]), case.sizes["tokens"])
        assert case.sizes["tokens"] <= 12
        assert (case.sent["attention_mask"].sum(axis=1) > 0).tolist() == [bool(one) for one in text["data"]]
    assert len({text for case in cases for text in case.request["inputs"][0]["data"]}) > 5


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_number_of_rows_stays(tmp_path: Path, batch: int) -> None:
    fixed = PICTURES.replace("[batch", f"[{batch}").replace("dynamic_axes: {batch: {min: 1, opt: 4, max: 9}}\n", "")
    assert {len(case.sent["image"]) for case in list_cases(tmp_path, fixed)} == {batch}


def test_clients_that_send_tensors_need_no_cases(tmp_path: Path) -> None:
    plain = PICTURES.partition("preprocess")[0]
    assert list_cases(tmp_path, plain) == []
