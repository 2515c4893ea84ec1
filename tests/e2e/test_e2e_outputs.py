"""Images give clients words, boxes and entities, which the smoke test compared with the source model's."""

import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e_images import list_arguments
from e2e_tools import PATIENCE, Workshop

DETECTOR = """
import torch

class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=4)
        self.boxes, self.scores = torch.nn.Linear(8, 4), torch.nn.Linear(8, 3)

    def forward(self, image):
        found = self.conv(image).flatten(2).transpose(1, 2)
        return {"boxes": self.boxes(found) * 30 + 50, "scores": torch.sigmoid(self.scores(found))}
"""
SPECS: dict[str, dict[str, Any]] = {
    "detector": {
        "model": {"framework": "torch", "factory": "net.py:Detector", "weights": "none"},
        "inputs": {"image": {"dtype": "float32", "shape": ["batch", 3, 32, 32]}},
        "outputs": ["boxes", "scores"],
        "postprocess": [
            {"op": "nms", "input": "boxes", "scores": "scores", "score": 0.3, "k": 5, "labels": "labels.txt"}
        ],
        "dynamic_axes": {"batch": [1, 4]},
    },
    "entities": {
        "model": {"framework": "transformers", "path": "ner", "task": "token-classification"},
        "inputs": {
            "input_ids": {"dtype": "int64", "shape": ["batch", "tokens"], "range": [0, 259]},
            "attention_mask": {
                "dtype": "int64", "shape": ["batch", "tokens"], "choices": [0, 1], "at_least_one": True,
            },
        },
        "outputs": ["scores"],
        "preprocess": [{"op": "tokenize", "input": "text", "tokenizer": "ner/tokenizer.json"}],
        "postprocess": [{"op": "decode", "kind": "entities", "input": "scores", "labels": "labels.txt"}],
        "dynamic_axes": {"batch": [1, 4], "tokens": [1, 40]},
    },
}  # fmt: skip
LABELS = {"detector": "cat\ndog\ncow\n", "entities": "O\nB-LOC\nI-LOC\n"}


def ask(workshop: Workshop, output: Path, document: dict[str, Any]) -> Any:
    """Serve what a build left, and return the outputs of one answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = workshop.start("run", output, "--port", str(port))
    try:
        end = time.monotonic() + PATIENCE
        while not (running.logs / "out").read_text().endswith("\n"):
            assert running.process.poll() is None, (running.logs / "err").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        url = f"http://127.0.0.1:{port}/v2/models/{output.parent.name}/infer"
        request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return {one["name"]: one for one in json.load(response)["outputs"]}
    finally:
        os.killpg(running.process.pid, signal.SIGINT)
        running.finish()


@pytest.mark.parametrize("name", SPECS)
def test_a_client_gets_what_the_steps_say(name: str, workshop: Workshop, base_archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "net.py").write_text(DETECTOR)
    (folder / "labels.txt").write_text(LABELS[name])
    if name == "entities":
        from transformer_folders import save_model

        save_model("roberta", folder / "ner")
    fields = {"onnxpack": 1, "name": name, "opset": 18, **SPECS[name]}
    (folder / "spec.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    built = workshop.build(folder / "spec.yaml", tmp_path / "dist", *list_arguments(base_archive))
    report = json.loads((built.output / "report.json").read_text())
    assert report["smoke"]["comparisons"] > 0
    if name == "detector":
        image = {"name": "image", "datatype": "FP32", "shape": [1, 3, 32, 32], "data": [0.5] * 3072}
        found = ask(workshop, built.output, {"inputs": [image]})
        assert list(found) == ["detected_boxes", "detected_scores", "detected_classes", "detected_count"]
        count = found["detected_count"]["data"][0]
        assert set(found["detected_classes"]["data"][:count]) <= {"cat", "dog", "cow"}
        assert found["detected_boxes"]["shape"] == [1, 5, 4]
    else:
        text = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["Lima is in Peru", ""]}
        found = ask(workshop, built.output, {"inputs": [text]})
        assert list(found) == [one["name"] for one in report["client"]["outputs"]] == ["entities"]
        first, second = map(json.loads, found["entities"]["data"])
        assert second == []
        assert all("Lima is in Peru"[one["start"] : one["end"]] == one["text"] for one in first)
