"""Pictures as people have them: the zoo's MNIST is asked with a PNG, and answers as OpenCV and the bare model do."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from e2e_tools import SPECS, Box, Built, Workshop, box
from onnx import helper

PICTURE = SPECS / "mnist/mnist_3.png"
_SEND = """
import base64, http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
connection.request("POST", sys.argv[1], base64.b64decode(sys.argv[3]), {"Content-Type": sys.argv[2]})
response = connection.getresponse()
print(response.status, response.read().decode())
"""


@pytest.fixture(scope="module")
def mnist(workshop: Workshop, engine: Any) -> Built:
    return workshop.build(workshop.copy("mnist"), workshop.root / "dist")


@pytest.fixture(scope="module")
def server(mnist: Built, engine: Any) -> Iterator[Box]:
    with box(engine, mnist.reference) as running:
        yield running.ready()


def send(server: Box, path: str, media_type: str, body: bytes) -> tuple[int, Any]:
    """Ask from inside the container; return the answer's status and its JSON."""
    status, _, text = server.python(_SEND, path, media_type, base64.b64encode(body).decode()).partition(" ")
    return int(status), json.loads(text)


def compute(picture: bytes, model: Path) -> Any:
    """Do what the model's tutorial does: OpenCV's pixels, weights in numpy, an area resize, and the bare model."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    grey = np.dot(pixels[..., 2::-1], [0.299, 0.587, 0.114]).astype(np.float32)
    small = cv2.resize(grey, (28, 28), interpolation=cv2.INTER_AREA)
    return onnxruntime.InferenceSession(model).run(None, {"Input3": small[None, None]})[0]


def test_a_png_drawn_by_hand_is_a_three(mnist: Built, server: Box) -> None:
    picture = PICTURE.read_bytes()
    status, answer = send(server, "/predict", "image/png", picture)
    assert status == 200, answer
    assert answer["digit"] == "three"
    data = {"name": "Input3", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(picture).decode()]}
    status, answer = send(server, "/v2/models/mnist/infer", "application/json", json.dumps({"inputs": [data]}).encode())
    assert status == 200, answer
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    np.testing.assert_allclose([found["Plus214_Output_0"]], compute(picture, SPECS / "mnist/mnist.onnx"), atol=1e-4)
    assert found["digit"] == ["three"]


def test_whatever_is_no_png_or_jpeg_is_refused_in_one_line(server: Box) -> None:
    pixels = cv2.imdecode(np.frombuffer(PICTURE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    bodies = [cv2.imencode(f".{kind}", pixels)[1].tobytes() for kind in ("tiff", "webp", "bmp", "jp2")]
    for body in (*bodies, PICTURE.read_bytes()[:900], b"", b"GIF89a"):
        status, answer = send(server, "/predict", "image/png", body)
        assert status == 400, answer
        assert "\n" not in answer["error"]
    assert send(server, "/predict", "image/jpeg", cv2.imencode(".jpg", pixels)[1].tobytes())[0] == 200


def test_the_image_has_what_its_formats_need_and_no_more(mnist: Built) -> None:
    files = json.loads((mnist.output / "files.json").read_text())["files"]
    kept = {file["path"]: file["size_bytes"] for file in files if file["kept"]}
    pillow = [name for name in kept if name.startswith(("PIL/", "pillow"))]
    assert sum(kept[name] for name in pillow) < 3_000_000
    assert not [name for name in pillow if "webp" in name.lower() or "Gif" in name]
    stubs = [name for name in pillow if name.startswith("pillow.libs/") and kept[name] < 4000]
    assert {name.partition("/lib")[2].partition("-")[0] for name in stubs} == {"tiff", "openjp2", "xcb"}


def test_a_file_of_opset_7_is_asked_in_the_same_way(workshop: Workshop, engine: Any) -> None:
    spec = workshop.copy("mnist", "old")
    model = onnx.load(spec.with_name("mnist.onnx"))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 7))
    onnx.save(model, spec.with_name("mnist.onnx"))
    workshop.edit(spec, model={"framework": "onnx", "path": "mnist.onnx"})
    built = workshop.build(spec, workshop.root / "dist-old")
    assert built.report["model"]["opset"] == 7
    with box(engine, built.reference) as running:
        status, answer = send(running.ready(), "/predict", "image/png", PICTURE.read_bytes())
    assert (status, answer["digit"]) == (200, "three")
