"""What a generated server and its command line make of pictures and texts."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_inference_pb2 as messages
import pytest
from bundle_examples import write_app
from calling import call, calling, read_answer, refuse
from PIL import Image
from serving import Server, serving

INFER = "/v2/models/iris/infer"
RED, BLUE = (200, 0, 0), (0, 0, 100)


def make_picture(colour: tuple[int, int, int], size: tuple[int, int] = (9, 7)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def encode(*files: bytes) -> list[str]:
    return [base64.b64encode(file).decode() for file in files]


def ask(server: Server, *inputs: dict[str, Any]) -> tuple[int, Any]:
    return server.ask("POST", INFER, json.dumps({"inputs": inputs}).encode())


def ask_pictures(server: Server, data: list[Any], **changes: Any) -> tuple[int, Any]:
    return ask(server, {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data} | changes)


def ask_texts(server: Server, texts: list[str], weights: list[float]) -> tuple[int, Any]:
    shape = [len(texts)]
    text = {"name": "text", "datatype": "BYTES", "shape": shape, "data": texts}
    return ask(server, text, {"name": "weight", "datatype": "FP32", "shape": shape, "data": weights})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pictures")
    write_app(folder, "pictures", max_batch_size=4, max_queue_delay=0.005, warmup=False)
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("texts")
    write_app(folder, "texts")
    with serving(folder) as server:
        yield server


def test_pictures_are_taken_as_base64_and_as_bytes(pictures: Server) -> None:
    files = [make_picture(RED), make_picture(BLUE, (640, 480))]
    status, answer = ask_pictures(pictures, encode(*files))
    assert (status, answer["outputs"][0]["data"]) == (200, [*RED, *BLUE])
    tail = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    head = {"name": "image", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(tail)}}
    body = json.dumps({"inputs": [head]}).encode()
    same = pictures.ask("POST", INFER, body + tail, inference_header_content_length=str(len(body)))
    assert same == (status, answer)


def test_a_large_request_of_pictures_is_read_like_a_small_one(pictures: Server) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    file = io.BytesIO()
    noise.save(file, "PNG")
    status, answer = ask_pictures(pictures, encode(file.getvalue(), make_picture(RED)))
    assert (status, answer["outputs"][0]["data"][3:]) == (200, [*RED])
    status, answer = ask_pictures(pictures, [*encode(file.getvalue()), 1])
    assert (status, answer["error"]) == (400, "input 'image': 'data' must hold files as strings of base64")


def test_requests_at_the_same_time_get_their_own_pictures_answers(pictures: Server) -> None:
    colours = [(number, 2 * number, 100) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda colour: ask_pictures(pictures, encode(make_picture(colour))), colours)
    assert [answer["outputs"][0]["data"] for _, answer in found] == [list(colour) for colour in colours]


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (["x"], {}, "input 'image': file 0 is not base64"),
        ([*encode(make_picture(RED)), "é"], {}, "input 'image': file 1 is not base64"),
        ([1], {}, "input 'image': 'data' must hold files as strings of base64"),
        ([""], {}, "picture"),
        (encode(b"no picture"), {}, "picture"),
        (encode(make_picture(RED)[:-30]), {}, "picture"),
        ([], {}, "input 'image', dimension 0 (batch): must be 1 to 8, got 0"),
        (encode(b"x") * 9, {}, "must be 1 to 8, got 9"),
        (encode(b"x"), {"shape": [1, 1]}, "input 'image': the shape must be [batch]"),
        (encode(b"x"), {"datatype": "UINT8"}, "input 'image': 'datatype' must be 'BYTES'"),
    ],
)
def test_what_is_wrong_with_pictures_is_told(
    pictures: Server, data: list[Any], changes: dict[str, Any], message: str
) -> None:
    status, answer = ask_pictures(pictures, data, **changes)
    assert status == 400
    assert message in answer["error"]
    assert "\n" not in answer["error"]


def test_binary_pictures_must_fill_their_bytes(pictures: Server) -> None:
    for tail in (b"\xff\xff\xff\xff" + b"x", b"\x01\0\0\0xy", b"\x01\0"):
        head = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}}
        body = json.dumps({"inputs": [head]}).encode()
        status, answer = pictures.ask("POST", INFER, body + tail, inference_header_content_length=str(len(body)))
        assert (status, "file" in answer["error"]) == (400, True)


def test_the_server_tells_what_clients_send(pictures: Server, texts: Server) -> None:
    _, found = pictures.ask("GET", "/v2/models/iris")
    assert found["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    _, found = texts.ask("GET", "/v2/models/iris")
    assert [one["name"] for one in found["inputs"]] == ["text", "weight"]
    _, document = pictures.ask("GET", "/openapi.json")
    example = document["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert ask(pictures, *example["inputs"])[0] == 200


def test_texts_become_tokens_beside_other_inputs(texts: Server) -> None:
    status, answer = ask_texts(texts, ["a b", "c"], [1.0, 2.0])
    assert (status, answer["outputs"][0]["data"]) == (200, [3.0, 6.0])
    status, answer = ask_texts(texts, [""], [1.0])  # padded to the least that the axis takes
    assert (status, answer["outputs"][0]["data"]) == (200, [0.0])


def test_texts_of_many_lengths_at_the_same_time_get_their_own_answers(texts: Server) -> None:
    asked = [" ".join("abc"[: 1 + number % 3] * (1 + number % 4)) for number in range(48)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: ask_texts(texts, [text], [1.0])[1]["outputs"][0]["data"], asked))
    assert found == [[float(sum(" abc".index(word) for word in text.split()))] for text in asked]


@pytest.mark.parametrize("raw", [False, True])
def test_texts_over_grpc(texts: Server, raw: bool) -> None:
    request = messages.ModelInferRequest(model_name="iris")
    text = request.inputs.add(name="text", datatype="BYTES", shape=[2])
    weight = request.inputs.add(name="weight", datatype="FP32", shape=[2])
    if raw:
        request.raw_input_contents.append(b"\x03\0\0\0a b\x01\0\0\0c")
        request.raw_input_contents.append(np.ones(2, np.float32).tobytes())
    else:
        text.contents.bytes_contents.extend([b"a b", b"c"])
        weight.contents.fp32_contents.extend([1, 1])
    with calling(texts) as channel:
        assert read_answer(call(channel, "ModelInfer", request))["total"].tolist() == [3.0, 3.0]


def test_pictures_over_grpc(tmp_path: Path) -> None:
    write_app(tmp_path, "pictures", server="http+grpc", warmup=False)
    request = messages.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(make_picture(BLUE))
    with serving(tmp_path) as server, calling(server) as channel:
        assert read_answer(call(channel, "ModelInfer", request))["colour"].tolist() == [list(BLUE)]
        tensor.contents.bytes_contents[0] = b"\xff"
        code, details = refuse(channel, "ModelInfer", request)
    assert code == "INVALID_ARGUMENT"
    assert "input 'image', picture 0" in details


def test_the_module_takes_lists_and_rows(load: Callable[..., ModuleType]) -> None:
    model = load("pictures").Model()
    files = [make_picture(RED), make_picture(BLUE)]
    assert model.predict(files).colour.tolist() == [[*RED], [*BLUE]]
    assert [one.colour.tolist() for one in model.predict_batches(iter(files), 1)] == [[*RED], [*BLUE]]
    assert [one.colour.tolist() for one in model.map([files[:1], files[1:]], 2)] == [[[*RED]], [[*BLUE]]]
    for wrong in (files[0], ["x"], np.array(files), None):
        with pytest.raises(TypeError, match="input 'image': expected"):
            model.predict(wrong)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inference", "predict", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_command_line_reads_pictures(apps: dict[str, Path], tmp_path: Path) -> None:
    files = {"a.png": make_picture(RED), "b.json": json.dumps({"image": encode(make_picture(BLUE))}).encode()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    np.savez(tmp_path / "c.npz", image=np.array(encode(make_picture(RED), make_picture(BLUE))))
    done = run(apps["pictures"], "--input", *(str(tmp_path / name) for name in ("a.png", "b.json", "c.npz")))
    assert [one["colour"] for one in json.loads(done.stdout)] == [[[*RED]], [[*BLUE]], [[*RED], [*BLUE]]]
    (tmp_path / "b.json").write_text('{"image": ["?"]}')
    np.savez(tmp_path / "c.npz", image=np.array([b"x"]))
    (tmp_path / "a.png").write_bytes(b"x")
    for name, message in {"a.png": "picture 0", "b.json": "file 0: not base64", "c.npz": "base64"}.items():
        done = run(apps["pictures"], "--input", str(tmp_path / name))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
