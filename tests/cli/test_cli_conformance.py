import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference_server import Fault, reference
from server_faults import FAULTS

Run = Callable[..., Any]


def test_a_good_server_gives_0_and_a_table(onnxpack: Run) -> None:
    with reference() as server:
        ended = onnxpack("conformance", server.url)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("pass  required    health.live")
    assert " fail  not offered\n" in ended.out


def test_a_required_check_that_fails_gives_4_and_says_so(onnxpack: Run) -> None:
    with reference(FAULTS["not live"][0]) as server:
        ended = onnxpack("conformance", server.url, "--model", "twice", "--json")
    assert (ended.code, ended.err) == (4, "failed: health.live, required\n")
    document = json.loads(ended.out)
    assert document["conformant"] is False
    assert [item["id"] for item in document["checks"] if item["verdict"] == "fail"] == ["health.live"]


def test_another_check_that_fails_gives_0(onnxpack: Run) -> None:
    with reference(FAULTS["no slashes"][0]) as server:
        ended = onnxpack("conformance", server.url)
    assert (ended.code, ended.err) == (0, "failed: metadata.slash, robustness\n")
    assert "    expected 200, or a redirect; got 404" in ended.out


def test_a_request_of_ones_own_is_sent(onnxpack: Run, tmp_path: Path) -> None:
    def refuse(request: Any, answer: Any) -> Any:
        good = b"3.5" in request.body or not request.path.endswith("/infer")
        return answer if good else type(answer)(400, {"error": "no zeros"})

    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [3.5, 3.5]},
        {"name": "n", "datatype": "INT8", "shape": [1], "data": [1]},
        {"name": "b", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"inputs": inputs}))
    with reference(Fault(refuse)) as server:
        without = onnxpack("conformance", server.url, "--json")
        ended = onnxpack("conformance", server.url, "--input", path, "--json")
    assert "give a request with --input" in without.out
    verdicts = {item["id"]: item["verdict"] for item in json.loads(ended.out)["checks"]}
    assert (verdicts["infer.json"], verdicts["infer.flat"], verdicts["after.infer"]) == ("pass", "pass", "pass")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("127.0.0.1:1",), 5, "nothing answers at 127.0.0.1:1: no connection"),
        (("ftp://x",), 2, "is no URL of a server"),
        ((), 2, "Missing argument 'URL'"),
        (("127.0.0.1:1", "--input", "missing.json"), 5, "No such file"),
        (("127.0.0.1:1", "--timeout", "0"), 2, "0 is not in the range"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: tuple[str, ...], code: int, words: str, onnxpack: Run) -> None:
    ended = onnxpack("conformance", *arguments)
    assert ended.code == code
    assert words in ended.err
