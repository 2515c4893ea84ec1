"""Whatever a server answers, it is judged: no answer makes an error of ours."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_server import describe

from onnxpack.conformance import mistakes, remote, server, suite
from onnxpack.conformance.checks import Verdict, collect
from onnxpack.conformance.messages import load_messages
from onnxpack.conformance.suite import CHECKS, Request, check_server, run_checks
from onnxpack.conformance.target import Target
from onnxpack.conformance.wire import Address, Answer, ClosedError, NoAnswerError

WORDS = st.sampled_from([
    "name", "twice", "versions", "inputs", "outputs", "datatype", "shape", "data", "parameters", "binary_data_size",
    "binary_tensor_data", "extensions", "model_stats", "inference_count", "input", "dims", "data_type", "TYPE_FP32",
    "FP32", "BF16", "BYTES", "x", "error", "live", "ready", "id", "\ud800", "1", "", "NaN",
])  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 2, -1, -7, 2**31, 2**70, 10**400, 0.5, 1e308, True, False, None])
DOCUMENTS = st.recursive(
    WORDS | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=8),
    max_leaves=30,
)
BODIES = st.binary(max_size=40) | DOCUMENTS.map(lambda document: server.json.dumps(document).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["inference-header-content-length", "content-type", "content-encoding", "connection"]),
    st.sampled_from(["0", "5", "²", "9" * 5000, "-1", "gzip", "application/json", "close"]),
)
ANSWERS = st.builds(Answer, st.sampled_from([200, 200, 200, 100, 307, 400, 500, 999]), HEADERS, BODIES)
FAILURES = st.sampled_from([NoAnswerError("silent"), ClosedError("closed")])


class Scripted:
    """A connection that gives answers which were made up before."""

    answers: tuple[Answer | NoAnswerError, ...] = ()
    turn = 0

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, data: bytes) -> None:
        pass

    def receive(self, method: str = "POST") -> Answer:
        Scripted.turn += 1
        answer = self.answers[Scripted.turn % len(self.answers)]
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    def receive_interim(self) -> int:
        return self.receive().status

    def read_rest(self, seconds: float) -> bytes:
        return b""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    """Have all connections give made-up answers."""
    monkeypatch.setattr(server, "Connection", Scripted)
    monkeypatch.setattr("onnxpack.conformance.transport._PAUSE_SECONDS", 0)
    monkeypatch.setattr("onnxpack.conformance.compression._PIECES", 1)
    large = ("refuse.overlong", "refuse.depth")
    monkeypatch.setattr(mistakes, "MISTAKES", tuple(one for one in mistakes.MISTAKES if one.id not in large))
    return Scripted


fuzz = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(st.lists(ANSWERS | FAILURES, min_size=1, max_size=6))
def test_made_up_answers_are_judged(scripted: type[Scripted], answers: list[Answer | NoAnswerError]) -> None:
    scripted.answers, scripted.turn = tuple(answers), 0
    asked = server.Server(Address("x", 1), "twice", 1.0, 1e12)
    results = list(run_checks(CHECKS, asked))
    assert [result.id for result in results] == [check.id for check in CHECKS]
    assert any(result.verdict is Verdict.FAIL for result in results)


@fuzz
@given(st.lists(ANSWERS, min_size=1, max_size=3), DOCUMENTS, DOCUMENTS)
def test_made_up_answers_behind_good_metadata_are_judged(
    scripted: type[Scripted], answers: list[Answer], data: Any, shape: Any
) -> None:
    outputs = [{"name": "y", "datatype": "FP32", "shape": shape, "data": data}]
    document = {**describe(), "extensions": ["binary_tensor_data"], "outputs": outputs, "id": "1"}
    good = Answer(200, {}, server.json.dumps(document).encode())
    scripted.answers, scripted.turn = (good, good, *answers), 0
    asked = server.Server(Address("x", 1), "twice", 1.0, 1e12)
    assert len(list(run_checks(CHECKS, asked))) == len(CHECKS)


def make_reply(method: str) -> st.SearchStrategy[Any]:
    """Return a strategy for replies of a method."""
    response = load_messages()[f"{method}Response"]
    if method != "ModelInfer":
        return st.builds(response)
    output = st.builds(
        response.InferOutputTensor,
        name=st.sampled_from(["y", ""]),
        datatype=st.sampled_from(["FP32", "BF16", "FP16", "BYTES", "INT8", "X", ""]),
        shape=st.lists(st.sampled_from([0, 1, -1, 2**62]), max_size=3),
        contents=st.builds(
            load_messages()["InferTensorContents"],
            fp32_contents=st.lists(st.just(1.0), max_size=2),
            bytes_contents=st.lists(st.binary(max_size=2), max_size=2),
        ),
    )
    raw = st.lists(st.binary(max_size=9), max_size=2)
    return st.builds(
        response, outputs=st.lists(output, max_size=2), raw_output_contents=raw, model_name=st.just("twice")
    )


class Channel:
    """A channel whose calls give made-up replies."""

    def __init__(self, draw: Callable[[str], Any]) -> None:
        self.draw = draw

    def unary_unary(self, path: str, **_: object) -> Callable[..., Any]:
        return lambda request, timeout: self.draw(path.rpartition("/")[2])


@fuzz
@given(st.data(), ANSWERS | st.just(Answer(200, {}, server.json.dumps(describe()).encode())))
def test_made_up_replies_over_grpc_are_judged(scripted: type[Scripted], data: st.DataObject, answer: Answer) -> None:
    scripted.answers = (answer,)
    asked = server.Server(Address("x", 1), "twice", 1.0, 1e12)
    target = Target(asked, Channel(lambda method: data.draw(make_reply(method))))
    checks = collect(remote)
    assert len(list(run_checks(checks, target))) == len(checks)


def test_the_model_is_looked_for_among_made_up_answers(scripted: type[Scripted]) -> None:
    scripted.answers, scripted.turn = (Answer(200, {}, b'[3, {"name": 3}]'), Answer(200, {}, b'{"name": 3}')), 0
    with pytest.raises(suite.SpecError, match="does not tell"):
        check_server(Request("x"), lambda _: None)
