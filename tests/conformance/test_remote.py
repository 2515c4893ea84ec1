"""The checks over gRPC: a good server passes them, and each fails with a fault of its own."""

from collections.abc import Callable
from typing import Any

import pytest
from reference_grpc import Change, FailedCallError, answer, reference_grpc
from reference_server import reference

from onnxpack.conformance import remote
from onnxpack.conformance.checks import Check, Result, Verdict, collect
from onnxpack.conformance.messages import load_messages
from onnxpack.conformance.suite import Request, check_server
from onnxpack.core.errors import EngineError, SpecError

CHECKS: tuple[Check[Any], ...] = collect(remote)
IDS = {check.id for check in CHECKS}


def changing(method: str, **fields: object) -> Change:
    """Return a change of the fields of a method's replies."""

    def change(called: str, request: Any, reply: Any) -> Any:
        if called == method and not isinstance(reply, FailedCallError):
            for name, value in fields.items():
                reply.ClearField(name)
                if isinstance(value, list):
                    getattr(reply, name).extend(value)
                elif value is not None:
                    setattr(reply, name, value)
        return reply

    return change


def refusing(condition: Callable[[str, Any], bool], code: str = "INVALID_ARGUMENT") -> Change:
    """Return a change that refuses some requests."""
    return lambda method, request, reply: FailedCallError(code) if condition(method, request) else reply


def taking(method: str, request: Any, reply: Any) -> Any:
    """Answer what must be refused."""
    if not isinstance(reply, FailedCallError):
        return reply
    good = load_messages()[f"{method}Response"]()
    if method.endswith("Ready"):
        good.ready = True
    return good


def recoding(code: str) -> Change:
    """Return a change of the codes of errors."""
    return lambda _, __, reply: FailedCallError(code) if isinstance(reply, FailedCallError) else reply


def doubling(_: str, request: Any, reply: Any) -> Any:
    """Double the outputs where they are asked for in raw."""
    if not isinstance(reply, FailedCallError) and getattr(request, "raw_input_contents", ()):
        for output in reply.outputs:
            output.contents.fp32_contents[:] = [2 * value + 1 for value in output.contents.fp32_contents]
    return reply


def forgetting() -> Change:
    """Return a change that is unready once somebody asked often."""
    asked: list[str] = []

    def change(method: str, request: Any, reply: Any) -> Any:
        asked.append(method)
        return FailedCallError("UNKNOWN") if asked.count("ServerReady") > 1 else reply

    return change


def shifting(_: str, request: Any, reply: Any) -> Any:
    """Answer other numbers than over HTTP."""
    if hasattr(reply, "outputs") and hasattr(reply, "id"):
        reply.outputs[0].contents.fp32_contents[:] = [7.0 for _ in reply.outputs[0].contents.fp32_contents]
    return reply


def choosing_nothing(method: str, request: Any, reply: Any) -> Any:
    """Answer all outputs."""
    if method == "ModelInfer" and request.outputs and not isinstance(reply, FailedCallError):
        whole = type(request)()
        whole.CopyFrom(request)
        whole.ClearField("outputs")
        return answer(method, whole)
    return reply


def is_infer(method: str, request: Any) -> bool:
    return method == "ModelInfer"


FAULTS: dict[str, tuple[Change, set[str]]] = {
    "not live": (changing("ServerLive", live=False), {"grpc.live"}),
    "not ready": (changing("ServerReady", ready=False), {"grpc.ready", "grpc.after"}),
    "the model is not ready": (changing("ModelReady", ready=False), {"grpc.model-ready", "grpc.version"}),
    "no name of the server": (changing("ServerMetadata", name=None), {"grpc.server"}),
    "no inputs in the metadata": (changing("ModelMetadata", inputs=None), {"grpc.model"}),
    "no versions": (refusing(lambda _, request: bool(getattr(request, "version", ""))), {"grpc.version"}),
    "no model_name": (changing("ModelInfer", model_name=None), {"grpc.contents"}),
    "no raw contents": (
        refusing(lambda _, request: bool(getattr(request, "raw_input_contents", ()))), {"grpc.raw", "grpc.not-found"},
    ),
    "raw contents are read wrong": (doubling, {"grpc.raw"}),
    "other numbers than over HTTP": (shifting, {"grpc.http"}),
    "no id": (changing("ModelInfer", id=None), {"grpc.id"}),
    "all outputs, whatever is asked": (
        choosing_nothing, {"grpc.outputs"},
    ),
    "no parameters": (refusing(lambda _, request: bool(getattr(request, "parameters", {}))), {"grpc.parameters"}),
    "what is wrong is taken": (
        taking, {"grpc.unknown-ready", "grpc.unknown-model", "grpc.not-found", "grpc.mistakes"},
    ),
    "errors are INTERNAL": (recoding("INTERNAL"), {"grpc.not-found", "grpc.invalid-argument"}),
    "not ready in the end": (
        forgetting(), {"grpc.after"},
    ),
    "predictions are refused": (refusing(is_infer), {"grpc.contents", "grpc.raw"}),
}  # fmt: skip


def check_grpc(change: Change | None = None) -> list[Result]:
    """Check the reference server over both, and return the results over gRPC."""
    with reference() as server, reference_grpc(change) as place:
        _, results = check_server(Request(server.url, "twice", place), lambda _: None)
    return [result for result in results if result.id.startswith("grpc.")]


def test_a_server_without_faults_passes_all_checks() -> None:
    results = check_grpc()
    assert {result.id: result.reason for result in results if result.verdict is not Verdict.PASS} == {}
    assert {result.id for result in results} == IDS


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_with_a_fault_fails_the_checks_that_are_about_it(name: str) -> None:
    change, expected = FAULTS[name]
    assert {result.id for result in check_grpc(change) if result.verdict is Verdict.FAIL} == expected


def test_every_check_fails_with_some_fault() -> None:
    assert set().union(*(expected for _, expected in FAULTS.values())) == IDS


@pytest.mark.parametrize("place", ["x", ":1", "x:", "x:99999", "x:a"])
def test_a_place_that_is_none_is_an_error_of_usage(place: str) -> None:
    with reference() as server, pytest.raises(SpecError, match="is no place of a server"):
        check_server(Request(server.url, "twice", place), lambda _: None)


def test_nothing_at_the_place_is_an_error_that_names_it() -> None:
    with reference() as server, pytest.raises(EngineError, match=r"nothing answers at 127\.0\.0\.1:1 by gRPC"):
        check_server(Request(server.url, "twice", "127.0.0.1:1"), lambda _: None)
