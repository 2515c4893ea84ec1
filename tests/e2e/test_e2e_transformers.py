"""Folders that transformers saved, from `init` to an image that strangers send strings and pictures to."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from e2e_tools import Client, Workshop, box
from PIL import Image
from transformer_folders import draw_picture, hf, save_model

TEXTS = ["The film was very good.", "Not a good film, a bad one!", "", "Zürich 🙂 lima in peru " * 40]


def build(workshop: Workshop, kind: str) -> tuple[Path, str]:
    """Draft and build a folder without a word in between but where its image goes; return it, and the image."""
    project = workshop.root / f"specs/{kind}"
    folder = save_model(kind, project / kind)
    drafted = workshop.run("init", folder)
    assert drafted.code == 0, drafted.err
    assert "0 lines in it say 'check'" in drafted.err
    spec = project / "spec.yaml"
    # The other exporter takes ten times as long, and is tried elsewhere.
    workshop.edit(spec, model=yaml.safe_load(spec.read_text())["model"] | {"exporter": "torchscript"})
    return folder, workshop.build(spec, workshop.root / "dist").reference


def ask(engine: Any, image: str, model: str, /, **tensor: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Send one input to the image's server, and return its outputs."""
    host = {"port_bindings": {8080: ("127.0.0.1",)}}
    with box(engine, image, host=host, ports=[8080]) as server:
        client = Client(server.ready().find_port())
        status, answer = client.infer({"inputs": [tensor]}, f"/v2/models/{model}/infer")[:2]
    assert status == 200, answer
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}


def test_a_string_is_answered_with_the_label_that_transformers_gives(workshop: Workshop, engine: Any) -> None:
    folder, image = build(workshop, "bert")
    given = ask(engine, image, "bert", name="text", shape=[len(TEXTS)], datatype="BYTES", data=TEXTS)
    tokens = hf.AutoTokenizer.from_pretrained(folder)(
        TEXTS, return_tensors="pt", padding=True, truncation=True, max_length=40
    )
    model = hf.AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        expected = torch.softmax(model(**tokens).logits, -1)
    np.testing.assert_allclose(given["scores"], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert given["label"].tolist() == [model.config.id2label[int(index)] for index in expected.argmax(-1)]


def test_a_picture_is_answered_with_the_label_that_transformers_gives(workshop: Workshop, engine: Any) -> None:
    folder, image = build(workshop, "vit")
    pictures = [Image.fromarray(draw_picture(height, width)) for height, width in [(50, 61), (32, 32), (200, 40)]]
    files = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        files.append(base64.b64encode(stream.getvalue()).decode())
    given = ask(engine, image, "vit", name="pixel_values", shape=[len(files)], datatype="BYTES", data=files)
    model = hf.AutoModelForImageClassification.from_pretrained(folder)
    pixels = hf.ViTImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")
    with torch.no_grad():
        expected = torch.softmax(model(**pixels).logits, -1)
    np.testing.assert_allclose(given["scores"], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert given["label"].tolist() == [model.config.id2label[int(index)] for index in expected.argmax(-1)]
