"""The protocol over gRPC."""

from dataclasses import replace

from onnxpack.conformance.checks import Level, NotOfferedError, check
from onnxpack.conformance.expect import require, require_same
from onnxpack.conformance.health import UNKNOWN
from onnxpack.conformance.target import CONTENTS, Reply, Target, has_halves, read_outputs, same_as_json

_INFER = "ModelInfer"


def _require_ok(reply: Reply) -> Reply:
    require(reply.code == "OK", "OK")
    return reply


def _require_error(reply: Reply) -> None:
    require(reply.code != "OK", "an error")


def _require_same(reply: Reply, target: Target) -> None:
    require_same(same_as_json(read_outputs(reply)), same_as_json(target.outputs))


@check("grpc.live", "the server is live", Level.REQUIRED, "ServerLive")
def check_live(target: Target) -> None:
    """Ask for liveness."""
    require(_require_ok(target.ask("ServerLive")).message.live, "live: true")


@check("grpc.ready", "the server is ready", Level.REQUIRED, "ServerReady")
def check_ready(target: Target) -> None:
    """Ask for readiness."""
    require(_require_ok(target.ask("ServerReady")).message.ready, "ready: true")


@check("grpc.model-ready", "the model is ready", Level.REQUIRED, "ModelReady")
def check_model_ready(target: Target) -> None:
    """Ask for the model's readiness."""
    require(_require_ok(target.ask("ModelReady", name=target.model)).message.ready, "ready: true")


@check("grpc.unknown-ready", "a model that is not there is not ready", Level.REQUIRED, "ModelReady")
def check_unknown_ready(target: Target) -> None:
    """Ask for the readiness of a model that is not there."""
    reply = target.ask("ModelReady", name=UNKNOWN)
    require(reply.code != "OK" or not reply.message.ready, "an error, or ready: false")


@check("grpc.server", "the server's metadata", Level.REQUIRED, "ServerMetadata")
def check_server(target: Target) -> None:
    """Ask what the server is."""
    require(_require_ok(target.ask("ServerMetadata")).message.name, "a name")


@check("grpc.model", "the model's metadata, as over HTTP", Level.REQUIRED, "ModelMetadata")
def check_model(target: Target) -> None:
    """Ask what the model is."""
    message = _require_ok(target.ask("ModelMetadata", name=target.model)).message
    require(message.name == target.model, "the model's name")
    for part in ("inputs", "outputs"):
        found = [(item.name, item.datatype, list(item.shape)) for item in getattr(message, part)]
        listed = target.server.list_tensors(part)
        told = [(item.get("name"), item.get("datatype"), item.get("shape")) for item in listed]
        require(found == told, f"the {part} {told}")


@check("grpc.version", "a version of the model", Level.REQUIRED, "ModelMetadata, ModelReady, ModelInfer")
def check_version(target: Target) -> None:
    """Ask for a version's metadata, readiness and prediction."""
    version = target.server.version
    _require_ok(target.ask("ModelMetadata", name=target.model, version=version))
    require(_require_ok(target.ask("ModelReady", name=target.model, version=version)).message.ready, "ready: true")
    raw = has_halves(target.tensors)
    _require_same(target.infer(target.tensors, raw=raw, model_version=version), target)


@check("grpc.contents", "a prediction of typed contents", Level.REQUIRED, _INFER)
def check_contents(target: Target) -> None:
    """Send all tensors as the lists of their types."""
    if has_halves(target.require_tensors()):
        raise NotOfferedError("FP16 and BF16 are raw alone")
    reply = target.infer(target.tensors)
    _require_same(reply, target)
    require(reply.message.model_name == target.model, "the model's name")
    for output in reply.message.outputs:
        require(output.datatype in (*CONTENTS, "FP16", "BF16"), f"a datatype of the protocol for {output.name!r}")


@check("grpc.raw", "a prediction of raw contents", Level.REQUIRED, "ModelInferRequest.raw_input_contents")
def check_raw(target: Target) -> None:
    """Send all tensors raw."""
    _require_same(target.infer(target.require_tensors(), raw=True), target)


@check("grpc.http", "the same prediction as over HTTP", Level.REQUIRED, _INFER)
def check_same_as_http(target: Target) -> None:
    """Compare the two."""
    if target.tensors != target.server.sample.tensors:
        raise NotOfferedError("the two take different requests")
    require_same(same_as_json(target.outputs), target.server.outputs)


@check("grpc.id", "the request's id comes back", Level.REQUIRED, "ModelInferRequest.id")
def check_id(target: Target) -> None:
    """Send an id."""
    reply = _require_ok(target.infer(target.tensors, raw=has_halves(target.tensors), id="42"))
    require(reply.message.id == "42", "the id '42'")


@check("grpc.outputs", "a request chooses outputs", Level.REQUIRED, "ModelInferRequest.outputs")
def check_outputs(target: Target) -> None:
    """Ask for each output alone."""
    for name, values in list(target.outputs.items())[:5]:
        request = target.write(target.tensors, raw=has_halves(target.tensors))
        request.outputs.add(name=name)
        found = read_outputs(target.call(_INFER, request))
        require_same(same_as_json(found), same_as_json({name: values}))


@check("grpc.parameters", "a request may have parameters", Level.ROBUSTNESS, "InferParameter")
def check_parameters(target: Target) -> None:
    """Send parameters that the server does not know."""
    request = target.write(target.tensors, raw=has_halves(target.tensors))
    request.parameters["truth"].bool_param = True
    request.inputs[0].parameters["number"].int64_param = 3
    _require_same(target.call(_INFER, request), target)


def _require_code(reply: Reply, *codes: str) -> None:
    require(reply.code in codes, " or ".join(codes))


@check("grpc.unknown-model", "a model that is not there", Level.REQUIRED, "ModelInfer, ModelMetadata")
def check_unknown_model(target: Target) -> None:
    """Ask for a prediction and the metadata of a model that is not there."""
    _require_error(target.infer(target.tensors, raw=True, model_name=UNKNOWN))
    _require_error(target.ask("ModelMetadata", name=UNKNOWN))


@check("grpc.not-found", "a model that is not there is NOT_FOUND", Level.ROBUSTNESS, "google.rpc.Code")
def check_not_found(target: Target) -> None:
    """Look at the code."""
    _require_code(target.infer(target.tensors, raw=True, model_name=UNKNOWN), "NOT_FOUND")
    _require_code(target.ask("ModelMetadata", name=UNKNOWN), "NOT_FOUND")


def _list_mistakes(target: Target) -> dict[str, Reply]:
    """Make all mistakes; return what each came to."""
    tensors = target.tensors
    raw = has_halves(tensors)
    first = tensors[0]
    output = target.write(tensors, raw=raw)
    output.outputs.add(name=UNKNOWN)
    both = target.write([tensor for tensor in tensors if tensor.datatype in CONTENTS])
    both.raw_input_contents.extend(tensor.to_bytes() for tensor in tensors)
    short, long, fewer, other = (target.write(tensors, raw=True) for _ in range(4))
    other.inputs[0].datatype = "FP99"
    long.raw_input_contents[0] += b"\0" * 8
    short.raw_input_contents[0] = short.raw_input_contents[0][:-1]
    del fewer.raw_input_contents[-1]
    requests = {
        "an output that the model does not have": output,
        "contents and raw contents": both,
        "raw contents that are too short": short,
        "raw contents that are too long": long,
        "raw contents for fewer inputs": fewer,
        "an input that is missing": target.write(tensors[1:], raw=raw),
        "an input that the model does not have": target.write([replace(first, name=UNKNOWN), *tensors[1:]], raw=raw),
        "a datatype that there is not": other,
        "no contents": target.write([replace(first, data=()), *tensors[1:]], raw=raw),
        "a shape of 2^60": target.write([replace(first, shape=(2**60, *first.shape[1:])), *tensors[1:]], raw=raw),
        "a shape of -1": target.write([replace(first, shape=(-1, *first.shape[1:])), *tensors[1:]], raw=raw),
    }
    return {what: target.call(_INFER, request) for what, request in requests.items()}


@check("grpc.mistakes", "requests that are wrong are errors", Level.REQUIRED, _INFER)
def check_mistakes(target: Target) -> None:
    """Send wrong requests."""
    taken = [what for what, reply in _list_mistakes(target).items() if reply.code == "OK"]
    require(not taken, f"an error for {', '.join(taken)}")


@check("grpc.invalid-argument", "requests that are wrong are INVALID_ARGUMENT", Level.ROBUSTNESS, "google.rpc.Code")
def check_codes(target: Target) -> None:
    """Look at the codes."""
    codes = {what: reply.code for what, reply in _list_mistakes(target).items() if reply.code != "OK"}
    others = [f"{what} ({code})" for what, code in codes.items() if code not in ("INVALID_ARGUMENT", "NOT_FOUND")]
    require(not others, f"INVALID_ARGUMENT for {', '.join(others)}")


@check("grpc.after", "the server is still ready, and answers as at first", Level.REQUIRED, "ServerReady, ModelInfer")
def check_after(target: Target) -> None:
    """Ask again."""
    require(_require_ok(target.ask("ServerReady")).message.ready, "ready: true")
    _require_same(target.infer(target.tensors, raw=has_halves(target.tensors)), target)
