"""Faults of a server, each with the checks that must find it."""

import json
import math
import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from reference_server import MODEL, OUTPUTS, Answer, Change, Fault, Request, describe

from onnxpack.conformance.suite import CHECKS

IDS = [check.id for check in CHECKS]


def starting(*prefixes: str, but: tuple[str, ...] = ()) -> set[str]:
    """Return the checks whose names begin so."""
    return {name for name in IDS if name.startswith(prefixes) and name not in but}


def for_path(end: str, edit: Callable[[Any], Any]) -> Change:
    """Return a change of the documents of paths that end so."""

    def change(request: Request, answer: Answer) -> Answer:
        if not request.path.endswith(end) or answer.status != 200 or answer.data is not None:
            return answer
        return replace(answer, document=edit(deepcopy(answer.document)))

    return change


def without(name: str) -> Callable[[Any], Any]:
    return lambda document: {key: value for key, value in document.items() if key != name}


def with_member(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda document: {**document, name: value}


def for_outputs(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """Return a change of each output of predictions in JSON."""
    return for_path("/infer", lambda document: {**document, "outputs": list(map(edit, document["outputs"]))})


def when(condition: Callable[[Request], Any], change: Change) -> Change:
    return lambda request, answer: change(request, answer) if condition(request) else answer


def always(answer: Answer) -> Change:
    return lambda _, __: answer


def taken(request: Request, answer: Answer) -> Answer:
    """Take what is refused, and answer as to a good request."""
    if answer.status < 400 or request.method != "POST":
        return answer
    outputs = [{"name": name, "datatype": kind, "shape": [0], "data": []} for name, (kind, _) in OUTPUTS.items()]
    return Answer(document={"model_name": "twice", "outputs": outputs})


def read(request: Request) -> Any:
    """Return the JSON of a request, if it is some."""
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None


def failing(request: Request, answer: Answer) -> Answer:
    return replace(answer, status=500) if answer.status >= 400 else answer


def all_outputs(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "outputs": [{**document["outputs"][0], "name": name} for name in OUTPUTS]}


def unknown_is_known(request: Request, answer: Answer) -> Answer:
    """Answer for models and versions that are not there."""
    if answer.status != 404 or request.method != "GET":
        return answer
    ready = request.path.endswith("/ready")
    return Answer(document={"name": "any", "ready": True} if ready else describe())


def forgetting() -> Change:
    """Return a change that refuses all once a request has refused all codings."""
    seen: list[bool] = []

    def change(request: Request, answer: Answer) -> Answer:
        broken = bool(seen) and (is_infer(request) or request.path == "/v2/health/ready")
        seen.extend([True] * (request.headers.get("accept-encoding") == "identity"))
        return replace(answer, status=503) if broken else answer

    return change


def refusing_later() -> Change:
    """Return a change that answers one prediction."""
    seen: list[bool] = []

    def change(request: Request, answer: Answer) -> Answer:
        if is_infer(request):
            seen.append(True)
        return NO if len(seen) > 1 and is_infer(request) else answer

    return change


def confusing() -> Change:
    """Return a change that gives two requests at once each other's id."""
    at_work = threading.Semaphore(2)
    both = threading.Barrier(2)

    def change(request: Request, answer: Answer) -> Answer:
        if (b'"id": "6"' not in request.body and b'"id": "7"' not in request.body) or not at_work.acquire(
            blocking=False
        ):
            return answer
        mine = int(answer.document["id"])
        both.wait(5)
        return replace(answer, document={**answer.document, "id": str(13 - mine)})

    return change


def binary_header(edit: Callable[[int], Any]) -> Change:
    def change(request: Request, answer: Answer) -> Answer:
        header = answer.headers.get("inference-header-content-length")
        if header is None:
            return answer
        return replace(answer, headers={**answer.headers, "inference-header-content-length": str(edit(int(header)))})

    return change


def is_infer(request: Request) -> bool:
    return request.path.endswith("/infer")


def has_header(name: str) -> Callable[[Request], bool]:
    return lambda request: is_infer(request) and name in request.headers


NOT_FINITE = {"name": "y", "datatype": "FP32", "shape": [1], "data": [math.nan]}
NO = Answer(400, {"error": "no"})
"""A refusal."""
BINARY_REFUSALS = (
    "binary.wrong-size", "binary.wrong-header", "binary.no-header", "binary.trailing", "binary.data-too",
    "binary.strings",
)  # fmt: skip
REFUSALS = starting("refuse.", but=("refuse.status", "refuse.elements", "refuse.members"))

FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "not live": (Fault(for_path("/live", with_member("live", False))), {"health.live"}),
    "not ready": (Fault(for_path("health/ready", with_member("ready", False))), {"health.ready"}),
    "model not ready": (
        Fault(for_path("/ready", lambda document: {**document, **({"ready": False} if "name" in document else {})})),
        {"health.model", "health.version"},
    ),
    "any model is ready and known": (
        Fault(unknown_is_known),
        {"health.unknown", "metadata.unknown", "metadata.unknown-version", "http.path"},
    ),
    "no version of the server": (Fault(for_path("/v2", without("version"))), {"metadata.server"}),
    "no platform": (Fault(for_path(MODEL, without("platform"))), {"metadata.model", "metadata.platform"}),
    "a platform of one word": (Fault(for_path(MODEL, with_member("platform", "onnx"))), {"metadata.platform"}),
    "a version without a name": (Fault(for_path(MODEL, with_member("versions", [""]))), {"metadata.model"}),
    "an unknown datatype": (
        Fault(for_path(MODEL, with_member("outputs", [{"name": "y", "datatype": "FLOAT", "shape": [1]}]))),
        {"metadata.tensors", "infer.metadata"},
    ),
    "another name in a version's metadata": (
        Fault(for_path("/versions/1", with_member("name", "other"))),
        {"metadata.version"},
    ),
    "no slashes": (Fault(quirk="exact-slash"), {"metadata.slash"}),
    "no model_name": (Fault(for_path("/infer", without("model_name"))), {"infer.json"}),
    "too few elements": (
        Fault(for_outputs(lambda o: {**o, "shape": [*o["shape"], 2]})),
        {"infer.json", "infer.metadata"},
    ),
    "text/plain": (
        Fault(lambda _, answer: replace(answer, headers={"content-type": "text/plain", **answer.headers})),
        {"infer.content-type"},
    ),
    "another datatype than the metadata say": (
        Fault(for_outputs(lambda o: {**o, "datatype": "FP64" if o["name"] == "y" else o["datatype"]})),
        {"infer.metadata"},
    ),
    "no id": (
        Fault(for_path("/infer", without("id"))),
        {"infer.id", "infer.id-text", "http.pipelining", "http.parallel"},
    ),
    "ids in ASCII": (
        Fault(for_path("/infer", lambda d: {**d, "id": d.get("id", "").encode("ascii", "ignore").decode()})),
        {"infer.id-text"},
    ),
    "all outputs, whatever is asked": (
        Fault(when(lambda r: is_infer(r) and (read(r) or {}).get("outputs"), for_path("/infer", all_outputs))),
        {"infer.outputs", "infer.parameters", "infer.parameters-unknown", "binary.output-json"},
    ),
    "no parameters": (
        Fault(when(lambda r: is_infer(r) and b'"parameters"' in r.body, always(NO))),
        {
            "infer.parameters",
            "infer.parameters-unknown",
            "binary.inputs",
            "binary.mixed",
            "binary.outputs",
            "binary.output",
            "binary.both",
            "binary.output-json",
            "binary.not-asked",
        },
    ),
    "no outputs for an empty list": (
        Fault(when(lambda r: (read(r) or {}).get("outputs") == [], for_path("/infer", with_member("outputs", [])))),
        {"infer.outputs-empty"},
    ),
    "nested data in the wrong order": (
        Fault(when(lambda r: b'"data": [[' in r.body, for_outputs(lambda o: {**o, "data": o["data"][::-1]}))),
        {"infer.nested"},
    ),
    "inputs by their order": (
        Fault(when(lambda r: r.body.startswith(b'{"inputs": [{"name": "s"'), always(NO))),
        {"infer.order"},
    ),
    "no version can be asked": (
        Fault(when(lambda r: r.path.endswith("versions/1/infer"), always(NO))),
        {"infer.version"},
    ),
    "a failure without rows": (
        Fault(when(lambda r: b'"shape": [0' in r.body, always(Answer(500, {"error": "no"})))),
        {"infer.zero-rows"},
    ),
    "bare NaN in answers": (
        Fault(
            when(
                lambda r: b"NaN" in r.body or b"Infinity" in r.body, always(Answer(document={"outputs": [NOT_FINITE]}))
            )
        ),
        {"infer.nan", "refuse.nan"},
    ),
    "a failure with extremes": (
        Fault(when(lambda r: b"[127]" in r.body, always(Answer(500, {"error": "no"})))),
        {"infer.extremes"},
    ),
    "bare NaN in answers to what is in binary": (
        Fault(when(lambda r: b"\0\0\xc0\x7f" in r.body, always(Answer(document={"outputs": [NOT_FINITE]})))),
        {"binary.nan"},
    ),
    "ids of others": (
        Fault(confusing()),
        {"http.parallel"},
    ),
    "content types are a must": (
        Fault(when(lambda r: is_infer(r) and "content-type" not in r.headers, always(Answer(415, {"error": "no"})))),
        {"infer.no-content-type", "http.method"},
    ),
    "content types by letter": (
        Fault(when(lambda r: "charset" in r.headers.get("content-type", ""), always(Answer(415, {"error": "no"})))),
        {"infer.charset"},
    ),
    "a failure with members that are more": (
        Fault(when(lambda r: b'"more"' in r.body, always(Answer(500, {"error": "no"})))),
        {"infer.members"},
    ),
    "what is wrong is taken": (
        Fault(taken),
        REFUSALS
        | {
            *BINARY_REFUSALS,
            "coding.broken",
            "coding.bomb",
            "coding.unknown",
            "http.method",
        },
    ),
    "errors of another form": (
        Fault(lambda _, a: Answer(a.status, {"detail": "no"}, a.headers) if a.status >= 400 else a),
        (
            REFUSALS
            | starting("binary.wrong", "binary.no-header", "binary.trailing", "binary.data-too", "binary.strings")
        )
        | {"metadata.unknown", "metadata.unknown-version", "coding.unknown"},
    ),
    "mistakes are failures": (
        Fault(failing),
        {
            "refuse.status",
            "refuse.elements",
            "refuse.members",
            "http.path",
            "http.method",
            "coding.broken",
            "coding.bomb",
        },
    ),
    "predictions are refused": (Fault(when(is_infer, always(NO))), {"infer.json", "http.method"}),
    "predictions behind the first are refused": (
        Fault(refusing_later()),
        starting("infer.", but=("infer.metadata", "infer.nan", "infer.zero-rows", "infer.members", "infer.extremes"))
        | starting("binary.", but=(*BINARY_REFUSALS, "binary.nan"))
        | {"http.expect", "http.chunked", "http.pieces", "http.pipelining", "http.keep-alive-error", "http.method"}
        | {"http.parallel", "coding.answer", "coding.not-asked", "triton.stats", "after.infer"},
    ),
    "length of the JSON is wrong": (
        Fault(binary_header(lambda length: length + 1)),
        {"binary.outputs", "binary.output", "binary.both"},
    ),
    "binary where nothing was asked": (
        Fault(
            when(
                has_header("inference-header-content-length"),
                lambda _, a: replace(a, headers={**a.headers, "inference-header-content-length": "10"}),
            )
        ),
        {"binary.not-asked", "binary.both"},
    ),
    "predictions in binary are refused": (
        Fault(when(has_header("inference-header-content-length"), always(NO))),
        {"binary.inputs", "binary.mixed", "binary.both", "binary.header", "binary.not-asked"},
    ),
    "a head with a body": (Fault(quirk="head-with-body"), {"http.head"}),
    "405 without Allow": (
        Fault(lambda _, answer: replace(answer, headers={}) if answer.status == 405 else answer),
        {"http.method"},
    ),
    "connections end": (Fault(quirk="always-closes"), {"http.keep-alive", "http.pipelining"}),
    "connections end after errors, unsaid": (Fault(quirk="closes-after-error"), {"http.keep-alive-error"}),
    "connections stay": (Fault(quirk="never-closes"), {"http.close"}),
    "no 100": (Fault(quirk="no-continue", seconds=3.0), {"http.expect"}),
    "no chunks": (Fault(quirk="no-chunks"), {"http.chunked"}),
    "bodies in one piece": (Fault(quirk="one-read"), {"http.pieces"}),
    "one request at a time": (Fault(quirk="no-pipelining", seconds=3.0), {"http.pipelining"}),
    "chunks for old clients": (
        Fault(lambda r, a: replace(a, headers={"transfer-encoding": "x"}) if r.version == "HTTP/1.0" else a),
        {"http.1.0"},
    ),
    "queries are paths": (Fault(quirk="exact-query"), {"http.query"}),
    "garbage is a failure": (Fault(quirk="garbage-is-500"), {"http.garbage"}),
    "requests can be smuggled": (Fault(quirk="smuggles"), {"http.lengths"}),
    "endless headers": (Fault(quirk="endless-head"), {"http.long-head"}),
    "endless bodies": (Fault(quirk="waits", seconds=3.0), {"http.long-body"}),
    "gzip is read and then wrong": (
        Fault(when(has_header("content-encoding"), for_outputs(lambda o: {**o, "data": o["data"][:-1]}))),
        {"coding.gzip", "coding.deflate"},
    ),
    "answers that are no gzip": (
        Fault(
            when(
                has_header("accept-encoding"), lambda _, a: replace(a, headers={"content-encoding": "gzip"}, data=b"{}")
            )
        ),
        {"coding.answer", "coding.not-asked"},
    ),
    "no configuration, though claimed": (Fault(for_path("/config", without("input"))), {"triton.config"}),
    "statistics that stand still": (
        Fault(for_path("/stats", lambda _: {"model_stats": [{"name": "twice", "inference_count": 3}]})),
        {"triton.stats"},
    ),
    "an index of other models": (Fault(for_path("/index", lambda _: [{"name": "other"}])), {"triton.index"}),
    "not ready in the end": (Fault(forgetting()), {"after.ready", "after.infer", "triton.stats"}),
}
