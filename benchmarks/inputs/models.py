"""The models of the comparison with servers written by hand: weights from a fixed seed, nothing is downloaded."""

import hashlib
import json
import runpy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parents[2]
PICTURE_SPEC = """\
onnxpack: 1
name: by-hand-picture
model: {framework: onnx, path: model.onnx, sha256: SHA}
inputs:
  image: {dtype: float32, shape: [batch, 3, 224, 224]}
outputs: [logits]
dynamic_axes: {batch: [1, 8]}
preprocess:
  - {op: decode, input: image, formats: [jpeg]}
  - {op: resize, input: image, size: [256]}
  - {op: crop, input: image, size: [224, 224]}
  - {op: cast, input: image, dtype: uint8}
  - {op: layout, input: image, layout: NHWC}
  - {op: normalize, input: image, scale: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
postprocess:
  - {op: softmax, input: logits}
  - {op: topk, input: logits, k: 5, labels: labels.txt, output: top}
targets: {cpu: {device: cpu}}
"""
TEXT_SPEC = """\
onnxpack: 1
name: by-hand-text
model: {framework: onnx, path: model.onnx, sha256: SHA}
inputs:
  input_ids: {dtype: int64, shape: [batch, tokens]}
  attention_mask: {dtype: int64, shape: [batch, tokens]}
outputs: [logits]
dynamic_axes: {batch: [1, 8], tokens: [2, 128]}
preprocess:
  - {op: tokenize, input: text, tokenizer: tokenizer.json}
postprocess:
  - {op: softmax, input: logits, output: probabilities}
  - {op: labels, input: probabilities, output: label, labels: labels.txt}
targets: {cpu: {device: cpu}}
"""
SENTENCES = (
    "The people at the desk were kind, but the room was cold and the water never got warm.",
    "Everything that we asked for came at once: we will be back in spring.",
)


def write_picture_model(folder: Path) -> bytes:
    """Write the spec of ResNet-18 for pictures of 224 x 224, and return a JPEG to ask with."""
    _require_torchvision()
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    _export(network, folder, {"image": torch.zeros(2, 3, 224, 224)}, {"image": {0: "batch"}, "logits": {0: "batch"}})
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(1000)))
    _write_spec(folder, PICTURE_SPEC)
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    path = folder / "picture.jpg"
    # As a photograph has them: large shapes, and a little noise.
    smooth = np.asarray(rough.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
    noisy = (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path, quality=85)
    return path.read_bytes()


def write_text_model(folder: Path) -> str:
    """Write the spec of a small BERT, and return a sentence to ask with."""
    _require_torchvision()  # which transformers imports
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*SENTENCES, *(ROOT.joinpath("docs", name).read_text() for name in ("tutorial.md", "serving.md"))]
    tokenizer.train_from_iterator(words, trainers.WordPieceTrainer(vocab_size=4000, special_tokens=special))
    pair = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", pair)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]), hidden_size=256,
        num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, attn_implementation="eager",
    )  # fmt: skip
    network = _Logits(BertForSequenceClassification(config).eval())
    names = ("input_ids", "attention_mask")
    inputs = {name: torch.ones(2, 8, dtype=torch.int64) for name in names}
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {"logits": {0: "batch"}}
    _export(network, folder, inputs, axes)
    (folder / "labels.txt").write_text("negative\npositive\n")
    _write_spec(folder, TEXT_SPEC)
    return SENTENCES[0]


def _require_torchvision() -> None:
    """Make torchvision importable, also where its compiled part was built for another torch."""
    runpy.run_path(str(ROOT / "specs/torchvision/model.py"))["_require_torchvision"]()


class _Logits(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the logits alone."""
        logits: torch.Tensor = self.network(input_ids, attention_mask).logits
        return logits


def _export(
    network: torch.nn.Module, folder: Path, inputs: dict[str, torch.Tensor], axes: dict[str, dict[int, str]]
) -> None:
    names = list(inputs)
    torch.onnx.export(
        network, tuple(inputs.values()), folder / "model.onnx", input_names=names, output_names=["logits"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip


def _write_spec(folder: Path, text: str) -> None:
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "spec.yaml").write_text(text.replace("SHA", digest))
