"""Strings go into an image, and labels come out: the same as the source model gives behind the training's tokenizer."""

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from e2e_tools import Box, Built, Client, Workshop, box
from safetensors.torch import load_file
from tokenizers import Tokenizer

from onnxpack.intake.strings import draw_strings

INFER = "/v2/models/sentiment/infer"
FOLDER = Path(__file__).parents[2] / "specs" / "sentiment"


@pytest.fixture(scope="module")
def sentiment(workshop: Workshop, engine: Any) -> Built:
    return workshop.build(workshop.copy("sentiment"), workshop.root / "dist")


@pytest.fixture(scope="module")
def server(sentiment: Built, engine: Any) -> Iterator[Box]:
    """The server as a user runs it, with little memory."""
    host = {"port_bindings": {8080: ("127.0.0.1",)}, "mem_limit": "1g", "memswap_limit": "1g"}
    with box(engine, sentiment.reference, host=host, ports=[8080]) as made:
        yield made.ready()


@pytest.fixture(scope="module")
def client(server: Box) -> Client:
    return Client(server.find_port())


def ask(client: Client, texts: list[Any], **changes: Any) -> tuple[int, Any]:
    """Send texts as the Open Inference Protocol has them, and return the status and the outputs, or the error."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts} | changes
    status, document, _ = client.infer({"inputs": [tensor]}, INFER)
    return status, {one["name"]: one["data"] for one in document["outputs"]} if status == 200 else document["error"]


def compute_scores(texts: list[str]) -> Any:
    """Ask the source model, behind the tokenizer as it was in training."""
    found = importlib.util.spec_from_file_location("sentiment_model", FOLDER / "model.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    net = module.SentimentNet(450)
    net.load_state_dict(load_file(FOLDER / "weights" / "sentiment.safetensors"))
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    rows = tokenizer.encode_batch(texts)
    with torch.no_grad():
        ids, mask = (torch.tensor([getattr(row, name) for row in rows]) for name in ("ids", "attention_mask"))
        return net.eval()(ids, mask).softmax(dim=1).numpy()


def test_strings_give_the_source_models_scores_and_labels(client: Client) -> None:
    texts = ["What a lovely evening!", "The soup was not warm.", *draw_strings(254, 3)]
    expected = compute_scores(texts)
    scores, labels = [], []
    for start in range(0, len(texts), 64):
        status, outputs = ask(client, texts[start : start + 64])
        assert status == 200, outputs
        scores += outputs["scores"]
        labels += outputs["label"]
    np.testing.assert_allclose(np.reshape(scores, (-1, 2)), expected, rtol=1e-3, atol=1e-4)
    assert labels[:2] == ["good", "bad"]
    sure = np.abs(expected[:, 0] - 0.5) > 1e-3
    assert (np.array(labels)[sure] == np.array(["bad", "good"])[expected.argmax(axis=1)][sure]).all()


def test_texts_also_come_in_binary(client: Client) -> None:
    text = "Größe 😀 and great".encode()
    head = (
        b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}'
        % (len(text) + 4)
    )
    body = io.BytesIO()
    body.write(head + len(text).to_bytes(4, "little") + text)
    headers = {"Inference_Header_Content_Length": str(len(head))}
    status, document, _ = client.ask("POST", INFER, body.getvalue(), **headers)
    assert status == 200, document
    status, outputs = ask(client, [text.decode()])
    assert outputs["label"] == next(one["data"] for one in document["outputs"] if one["name"] == "label")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["\ud83d"], ""),
        ([1], ""),
        ([None], ""),
        (["你" * 100_000], "input 'text', text 0: it has 300000 bytes in UTF-8, and at most 131072 can be tokenized"),
        (["a" * 125_000] * 16, "input 'text', text 8: the request's texts have more than 1048576 bytes in UTF-8"),
        ([], "must be 1 to 64"),
        (["a"] * 65, "must be 1 to 64"),
    ],
)
def test_wrong_texts_are_answered_with_400(data: list[Any], words: str, client: Client) -> None:
    status, error = ask(client, data)
    assert status == 400
    assert words in error
    assert "\n" not in error


def test_metadata_and_memory_are_of_texts(client: Client, server: Box) -> None:
    _, document, _ = client.ask("GET", "/v2/models/sentiment")
    assert document["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert ask(client, ["great " * 200_000] * 32)[0] == 200, "what is cut off costs nothing"
    assert server.measure_peak() < 600 * 2**20
