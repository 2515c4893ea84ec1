"""What people send to ``/predict``, and what they get: records, lists, tables and forms."""

import base64
import gzip
import http.client
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bundle_examples import (
    IRIS,
    PICTURES,
    SENTENCE,
    TABLE,
    save_iris,
    save_model,
    save_sentence,
    write_app,
    write_modules,
)
from onnx import TensorProto, helper
from PIL import Image
from serving import Server, request, serving
from strange_bodies import list_examples, make_form, make_question

from onnxpack.bundle.answers import Answers, Pair
from onnxpack.bundle.conclusions import ConclusionView
from onnxpack.bundle.render import render_module
from onnxpack.core.values import TensorInfo

FORM = "multipart/form-data; boundary=B"
FIELDS = "application/x-www-form-urlencoded"
ACCOUNT = {item["name"]: item["data"] for item in request()["inputs"]}
ACCOUNT |= {"dates": [[1] * 6] * 2, "input_ids": [[1] * 20] * 2}
PERSON = {"age": 41, "income": 3.5, "visits": 3, "code": 7, "member": True, "city": "Lima"}
TOLD = {"total": 54.5, "ages": [41.0, 41.0], "guest": False, "place": "Lima"}
LINES = "age,income,visits,code,member,city\n41,3.5,3,7,true,Lima\n"
FLOWER = {"label": 0, "probabilities": [0.33333334, 0.33333334, 0.33333334]}
ODD = {"input.1": [["é"]], "class": [True, False], "a b": [[1, 2], [3, 4]], "a_b": 7}
ODDLY = {"index": [["é"]], "file": [False, True], 'it\'s "it"': [[8, 9], [10, 11]]}


def ask(server: Server, body: bytes | str, kind: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a prediction; give the status, the headers and the body of the answer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Content-Type": kind} if kind else {})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", "/predict", body.encode() if isinstance(body, str) else body, sent)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def answer(server: Server, body: bytes | str, kind: str = "", **headers: str) -> Any:
    """Ask for a prediction that succeeds."""
    status, told, text = ask(server, body, kind, **headers)
    assert (status, told["content-type"]) == (200, "application/json"), text
    return json.loads(text, parse_constant=pytest.fail)


def refusal(server: Server, body: bytes | str, kind: str = "", status: int = 400, **headers: str) -> str:
    """Ask for a prediction that is refused, and give the reason."""
    found, _, text = ask(server, body, kind, **headers)
    assert found == status, text
    (reason,) = json.loads(text).values()
    assert isinstance(reason, str)
    assert "\n" not in reason
    return reason


@pytest.fixture(scope="module")
def servers(apps: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    table = tmp_path_factory.mktemp("served table")
    write_app(table, "table", server="http")
    with (
        serving(apps["iris"]) as iris,
        serving(apps["transactions"]) as transactions,
        serving(apps["odd"]) as odd,
        serving(table) as served,
    ):
        yield {"iris": iris, "transactions": transactions, "odd": odd, "table": served}


GOOD: list[tuple[str, str, str, Any]] = [
    ("iris", "[1, 1, 1, 9]", "", FLOWER),
    ("iris", "[[1, 1, 1, 9], [2, 2, 2, 0]]", "application/json", [FLOWER, FLOWER]),
    ("iris", '{"float_input": [1, 1, 1, 9]}', "text/json;charset=utf-8", None),
    ("iris", '\ufeff\n [{"float_input": [1, 1, 1, 9]}]', "application/json; charset=UTF-8", [FLOWER]),
    ("iris", '{"float_input0": 1, "float_input1": 1, "float_input2": 1, "float_input3": 9}', "", FLOWER),
    ("iris", "float_input3,float_input2,float_input1,float_input0\r\n9,1,1,1\r\n", "", [FLOWER]),
    ("iris", "float_input0=1&float_input1=1&float_input2=1&float_input3=+9", FIELDS, FLOWER),
    ("iris", "[1, 1, 1, 9]", FIELDS, FLOWER),
    ("table", json.dumps(PERSON), "", TOLD),
    ("table", json.dumps([PERSON, PERSON]), "", [TOLD, TOLD]),
    ("table", LINES, "", [TOLD]),
    ("table", LINES, "text/csv", [TOLD]),
    ("table", "age=41&income=3.5&visits=3&code=7&member=true&city=Lima", FIELDS, TOLD),
    ("transactions", json.dumps(ACCOUNT), "", {"score": 54.0}),
    ("transactions", json.dumps([ACCOUNT] * 3), "application/octet-stream", [{"score": 54.0}] * 3),
    ("odd", json.dumps(ODD), "", ODDLY),
]


@pytest.mark.parametrize(("model", "body", "kind", "expected"), GOOD)
def test_what_people_have_is_taken(model: str, body: str, kind: str, expected: Any, servers: dict[str, Server]) -> None:
    if expected is None:
        assert "is not taken here: send" in refusal(servers[model], body, kind, 415)
    else:
        assert answer(servers[model], body, kind) == expected


FORMS: list[tuple[str, list[tuple[str, str, str, bytes]], Any]] = [
    ("table", [(name, "", "", str(value).lower().encode()) for name, value in PERSON.items()], "lima"),
    ("table", [("any", "x.csv", "text/csv", LINES.encode())], [TOLD]),
    ("table", [("any", "x.csv", "application/vnd.ms-excel", LINES.encode())], [TOLD]),
    ("table", [("any", "x", "application/octet-stream", json.dumps(PERSON).encode())], TOLD),
    ("iris", [("any", "x.json", "application/json", b"[1, 1, 1, 9]")], FLOWER),
    ("transactions", [(name, "", "", json.dumps(value).encode()) for name, value in ACCOUNT.items()], {"score": 54.0}),
    ("odd", [(name, "", "", json.dumps(value).encode()) for name, value in ODD.items()], ODDLY),
]


@pytest.mark.parametrize(("model", "parts", "expected"), FORMS)
def test_forms_are_taken(
    model: str, parts: list[tuple[str, str, str, bytes]], expected: Any, servers: dict[str, Server]
) -> None:
    found = answer(servers[model], make_form(parts), FORM)
    assert (found["place"] if expected == "lima" else found) == expected
    assert answer(servers[model], make_form(parts, "a'b c"), 'multipart/form-data; boundary="a\'b c"') == found


BAD = [
    ("iris", "", "", "the body is empty: send JSON with "),
    ("iris", "\x00", "", "line 1: there is no column"),
    ("iris", "{", "", "the body is not JSON in UTF-8"),
    ("iris", '{"float_input": [1, 1, 1, 9], "x": 1}', "", "row 1: there is no column 'x'"),
    ("iris", "[1, 1, 1]", "", "row 1, input 'float_input': expected a list of 4 values, got 3"),
    ("iris", '[[1, 1, 1, 1], [1, 1, 1, "1"]]', "", "row 2, column 'float_input3': expected a number, got '1'"),
    ("iris", "[1, 1, 1, NaN]", "", 'write the string "NaN"'),
    ("iris", '{"float_input": [1], "float_input": [1]}', "", "twice"),
    ("iris", json.dumps([[1] * 4] * 65), "", "no more than 64 rows"),
    ("iris", "\x89PNG\r\n\x1a\n", "", "the body is a picture: send JSON with"),
    ("iris", "float_input0=1&a=2", FIELDS, "there is no column 'a'"),
    ("iris", "float_input0=1" + "&a=2" * 5000, FIELDS, "the form has more than 4 fields"),
    ("transactions", "1", "", "the JSON must be an object, or a list of objects"),
    ("transactions", "[]", "", "the JSON must be an object, or a list of objects"),
    ("transactions", "[{}, 1]", "", "row 1: input 'dates' is missing"),
    ("transactions", json.dumps([ACCOUNT, 1]), "", "row 2 must be an object"),
    ("transactions", json.dumps({**ACCOUNT, "x": 1}), "", "there is no input 'x'; the inputs are 'dates'"),
    (
        "transactions",
        json.dumps({**ACCOUNT, "dates": 1}),
        "",
        "input 'dates': it must be lists in lists, 2 deep, got one",
    ),
    ("transactions", json.dumps({**ACCOUNT, "amounts": ["1", "2"]}), "", "input 'amounts': it must hold numbers only"),
    (
        "transactions",
        json.dumps({**ACCOUNT, "amounts": [1]}),
        "",
        "dimension 1 (seq): must be 2 as in input 'dates', got 1",
    ),
    (
        "transactions",
        json.dumps([ACCOUNT, {**ACCOUNT, "amounts": [1]}]),
        "",
        "row 2: input 'amounts': its shape is [1], and",
    ),
    ("transactions", json.dumps([ACCOUNT] * 65), "", "dimension 0 (batch): must be 1 to 64, got 65"),
    ("transactions", json.dumps({**ACCOUNT, "input_ids": [[99] * 20] * 2}), "", "the model cannot take these values"),
    ("transactions", "amounts=[1,2]&amounts=[1,2]", FIELDS, "the form has the field 'amounts' twice"),
    ("odd", json.dumps([ODD]), "", "the JSON must be an object: send"),
    ("odd", json.dumps({**ODD, "class": [1, 0]}), "", "input 'class': it must hold true and false only"),
    ("odd", json.dumps({**ODD, "a b": [[1, 2], [3]]}), "", "input 'a b': it is not nested as the shape [2, 2] says"),
]


@pytest.mark.parametrize(("model", "body", "kind", "reason"), BAD)
def test_what_is_wrong_is_told(model: str, body: str, kind: str, reason: str, servers: dict[str, Server]) -> None:
    assert reason in refusal(servers[model], body.encode("latin-1" if body.startswith("\x89") else "utf-8"), kind)


DISPOSITION = b'--B\r\nContent-Disposition: form-data; name="age"\r\n'
BROKEN = [
    (b"x", "does not begin with the boundary"),
    (b"--B--", "the form is empty: send"),
    (b"--B\r\n\r\n\r\n--B--", "part 1: it needs a header like"),
    (b"--B\r\nContent-Disposition: attachment; name=x\r\n\r\n1\r\n--B--", "part 1: it needs a header like"),
    (b"--B\n" + DISPOSITION[5:], "part 1: its headers are wrong"),
    (
        DISPOSITION + b"x: " + b"y" * 5000 + b"\r\n\r\n1\r\n--B--",
        "part 1: its headers are wrong, or larger than 4096 bytes",
    ),
    (DISPOSITION + b"\r\n1", "part 1: no boundary follows it"),
    (DISPOSITION + b"Content-Type: multipart/mixed; boundary=C\r\n\r\n--C--\r\n--B--", "a form inside of a form"),
    (DISPOSITION + b"Content-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--B--", "without a Content-Transfer-Encoding"),
    (DISPOSITION + b"\r\n1\r\n" + DISPOSITION + b"\r\n1\r\n--B--", "the form has the field 'age' twice"),
    ((DISPOSITION + b"\r\n1\r\n") * 7 + b"--B--", "the form has more than 6 parts"),
    (DISPOSITION + b"\r\n\xff\r\n--B--", "codec can't decode"),
    (DISPOSITION.replace(b"age", b"\xff") + b"\r\n1\r\n--B--", "codec can't decode"),
]


@pytest.mark.parametrize(("body", "reason"), BROKEN)
def test_broken_forms_are_refused(body: bytes, reason: str, servers: dict[str, Server]) -> None:
    assert reason in refusal(servers["table"], body, FORM)
    assert "must name a boundary of 1 to 70 bytes" in refusal(servers["table"], body, "multipart/form-data")


@pytest.mark.parametrize("kind", ["image/png", "text/html", "application/pdf", "x", "text/csv; charset=latin-1"])
def test_other_types_are_refused_before_they_are_read(kind: str, servers: dict[str, Server]) -> None:
    status, headers, text = ask(servers["iris"], b"x" * 10**6, kind)
    assert (status, headers["accept"]) == (415, "application/json, text/csv, multipart/form-data")
    assert f"Content-Type {kind!r} is not taken here: send JSON with" in json.loads(text)["error"]


def test_answers_may_be_csv(servers: dict[str, Server]) -> None:
    status, headers, text = ask(servers["table"], LINES, accept="text/csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert text == b"total,ages0,ages1,guest,place\n54.5,41.0,41.0,false,Lima\n"
    assert answer(servers["table"], LINES, accept="text/csv, application/json") == [TOLD]
    assert answer(servers["odd"], json.dumps(ODD), accept="text/csv") == ODDLY, "its outputs are no table"


def test_the_path_keeps_to_http(servers: dict[str, Server]) -> None:
    server = servers["iris"]
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            connection.request(method, "/predict")
            response = connection.getresponse()
            assert (response.status, response.headers["allow"]) == (405, "POST")
            response.read()
            connection.request("POST", "/predict/?x=1", b"[1, 1, 1, 9]")
            assert json.loads(connection.getresponse().read()) == FLOWER, "the connection goes on"
    packed = gzip.compress(b"[1, 1, 1, 9]")
    assert answer(server, packed, content_encoding="gzip") == FLOWER
    rows = [[1, 1, 1, 9]] * 64
    status, headers, text = ask(server, json.dumps(rows), accept_encoding="gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(text)) == [FLOWER] * 64


def test_predictions_are_counted_and_answered_as_by_the_protocol(servers: dict[str, Server]) -> None:
    server = servers["iris"]
    before = server.metric('onnxpack_predictions_total{result="success"}')
    found = answer(server, "[5.1, 3.5, 1.4, 0.2]")
    assert server.metric('onnxpack_predictions_total{result="success"}') == before + 1
    tensor = {"name": "float_input", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
    status, told = server.ask("POST", "/v2/models/iris/infer", json.dumps({"inputs": [tensor]}).encode())
    assert status == 200
    assert found == {"label": told["outputs"][0]["data"][0], "probabilities": told["outputs"][1]["data"]}


def test_numbers_that_json_lacks_are_words(servers: dict[str, Server]) -> None:
    assert answer(servers["iris"], '["NaN", 0, 0, 0]') == {"label": 0, "probabilities": ["NaN"] * 3}
    person = {**PERSON, "income": "Infinity", "age": "-Infinity"}
    assert answer(servers["table"], json.dumps(person))["ages"] == ["-Infinity", "-Infinity"]


def test_large_texts_are_packed(large: Path) -> None:
    long = {"dates": [[1] * 6] * 512, "input_ids": [[1] * 20] * 512, "amounts": [0.5] * 512}
    with serving(large) as server:
        assert answer(server, json.dumps(long)) == pytest.approx({"score": 512 * 26.5})
        assert answer(server, json.dumps([long] * 20)) == [pytest.approx({"score": 512 * 26.5})] * 20
        worse = {**long, "dates": [[1] * 6] * 511 + [[1] * 5]}
        assert "'dates' is ragged" in refusal(server, json.dumps([long, worse] * 10))
        worse = {**long, "amounts": ["x"] * 512}
        assert "input 'amounts': it must hold numbers only" in refusal(server, json.dumps([long, worse] * 10))
        assert "too many parts" in refusal(server, json.dumps({**long, "x": [{}] * 300_000}))
        assert server.memory_peak() < 300 * 2**20


def make_answers(folder: Path, answers: Answers, **changes: Any) -> Path:
    save_iris(folder / "model.onnx")
    write_modules(folder, replace(IRIS, answers=answers, **changes))
    return folder


def test_classes_have_their_words(tmp_path: Path) -> None:
    words = ("setosa", 'a "b"', "é")
    with serving(make_answers(tmp_path, Answers({"probabilities": words}))) as server:
        third = pytest.approx(1 / 3)
        assert answer(server, "[1, 1, 1, 9]") == {"label": 0, "probabilities": dict.fromkeys(words, third)}
        found = answer(server, '[[1, 1, 1, 9], ["NaN", 1, 1, 9]]')
        assert found[1]["probabilities"] == dict.fromkeys(words, "NaN")


def test_pairs_and_documents_are_told_as_such(
    tmp_path: Path, load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "conclusions", ModuleType("conclusions"))  # nothing is concluded here
    outputs = [("best_values", "float32", 2), ("best_labels", "string", 2), ("spans", "string", 1)]
    infos = tuple(TensorInfo(name, dtype, ("batch", size)[:size]) for name, dtype, size in outputs)
    spans = ConclusionView("entities", infos[:1], infos[2:], tokens="text", text="text")
    answers = Answers(pairs=(Pair("best", "best_values", "best_labels", "label"),))
    save_sentence(tmp_path / "model.onnx")
    write_modules(tmp_path, replace(SENTENCE, outputs=infos, answers=answers, conclusions=(spans,)))
    results = {
        "best_values": np.array([[0.5, 0.25]], np.float32),
        "best_labels": np.array([["a", 'b"']], object),
        "spans": np.array(['[{"start": 1}]'], object),
    }
    written = json.loads(load(tmp_path, "predict").write(results, False))
    best = [{"label": "a", "value": 0.5}, {"label": 'b"', "value": 0.25}]
    assert written == [{"best": best, "spans": [{"start": 1}]}]


def test_a_picture_among_other_inputs_is_a_file_of_a_form(tmp_path: Path) -> None:
    more = (TensorInfo("scale", "float32", ("batch",)), TensorInfo("note", "string", ("batch",)))
    outputs = (*PICTURES.outputs, TensorInfo("again", "string", ("batch",)))
    view = replace(PICTURES, inputs=(*PICTURES.inputs, *more), outputs=outputs)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["scale", "one"], ["factor"]),
        helper.make_node("Mul", ["mean", "factor"], ["colour"]),
        helper.make_node("Identity", ["note"], ["again"]),
    ]
    save_model(tmp_path / "model.onnx", nodes, view, [helper.make_tensor("one", TensorProto.INT64, [1], [1])])
    write_modules(tmp_path, view)
    file = io.BytesIO()
    Image.new("RGB", (9, 5), (10, 20, 30)).save(file, "PNG")
    parts = [("image", "x.png", "image/png", file.getvalue()), ("scale", "", "", b"2"), ("note", "", "", b"[hi]")]
    expected = {"colour": [20.0, 40.0, 60.0], "again": "[hi]"}
    text = base64.b64encode(file.getvalue()).decode()
    with serving(tmp_path) as server:
        assert answer(server, make_form(parts), FORM) == expected
        record = {"image": f"data:image/png;base64,{text}", "scale": 2, "note": "[hi]"}
        assert answer(server, json.dumps([record, {**record, "image": text}])) == [expected, expected]
        assert refusal(server, make_form(parts[:1]), FORM) == "input 'scale' is missing"
        assert "the body is a picture: send JSON with" in refusal(server, file.getvalue())
        assert "it must be a picture in base64" in refusal(server, json.dumps({**record, "image": [1]}))


@pytest.mark.parametrize("model", ["iris", "transactions", "odd", "table"])
def test_strange_bodies_are_answered_or_refused(model: str, servers: dict[str, Server]) -> None:
    server = servers[model]
    _, document = server.ask("GET", "/openapi.json")
    examples = list_examples(document)
    statuses = set()
    for seed in range(50):
        body, headers = make_question(f"{model} {seed}", examples)
        status, _, text = ask(server, body, **headers)
        assert status < 500, (seed, text)
        statuses.add(status)
    assert statuses >= {200, 400}
    assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})


def test_a_table_has_no_form_of_tensors_but_one_with_much_does() -> None:
    wide = replace(TABLE, server="http", inputs=(TensorInfo("x", "float32", ("batch", 5000)),))
    assert "import records" in render_module(replace(TABLE, server="http"))["predict.py"]
    assert "import records" not in render_module(wide)["predict.py"]
