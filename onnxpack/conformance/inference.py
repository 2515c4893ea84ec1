"""Requests that must be answered."""

from typing import Any

from onnxpack.conformance.checks import Level, NotOfferedError, check
from onnxpack.conformance.expect import (
    require,
    require_no_failure,
    require_ok,
    require_output,
    require_same,
)
from onnxpack.conformance.server import Server, read_outputs
from onnxpack.conformance.tensors import list_extremes

_PARAMETERS = {"text": "a", "number": 1, "truth": True, "fraction": 0.5}


@check(
    "infer.json", "a prediction, of the form that the protocol has", Level.REQUIRED, "Inference Response JSON Object"
)
def check_infer(server: Server) -> None:
    """Look at all that an answer has."""
    document = require_ok(server.infer(server.require_sample().to_json()))
    require(document.get("model_name") == server.model, "the model's name as 'model_name'")
    require(isinstance(document.get("model_version", ""), str | None), "'model_version', a string")
    for name, output in server.outputs.items():
        require_output(name, output)


@check("infer.content-type", "an answer in JSON says so", Level.REQUIRED, "Inference Request Examples")
def check_content_type(server: Server) -> None:
    """Look at the answer's content type."""
    answer = server.infer(server.sample.to_json())
    require(answer.status == 200, "200")
    kind = answer.headers.get("content-type", "")
    require(kind.partition(";")[0].strip().lower() == "application/json", f"application/json, not {kind!r}")


@check("infer.metadata", "outputs are as the metadata say", Level.REQUIRED, "Model Metadata")
def check_outputs_agree(server: Server) -> None:
    """Compare an answer with the metadata."""
    outputs, listed = server.outputs, server.list_tensors("outputs")
    if not listed:
        raise NotOfferedError("the metadata name no outputs")
    known = {str(item.get("name")): item for item in listed}
    require(set(outputs) == set(known), f"the outputs {list(known)}")
    for name, output in outputs.items():
        wanted, shape = known[name].get("shape"), output.get("shape")
        require(output.get("datatype") == known[name].get("datatype"), f"the datatype of {name!r} in the metadata")
        if isinstance(wanted, list) and isinstance(shape, list):
            pairs = zip(wanted, shape, strict=False)
            fits = len(wanted) == len(shape) and all(known_size in (-1, size) for known_size, size in pairs)
            require(fits, f"the shape {wanted} of {name!r} in the metadata")


@check("infer.version", "a prediction of a version", Level.REQUIRED, "Inference")
def check_infer_version(server: Server) -> None:
    """Ask a version of the model."""
    path = f"{server.version_path}/infer"
    require_same(read_outputs(server.infer(server.sample.to_json(), path=path)), server.outputs)


@check("infer.flat", "data in one row", Level.REQUIRED, "Tensor Data")
def check_flat(server: Server) -> None:
    """Send all data in one row."""
    require_same(read_outputs(server.infer(server.sample.to_json())), server.outputs)


@check("infer.nested", "data nested as the shape says", Level.REQUIRED, "Tensor Data")
def check_nested(server: Server) -> None:
    """Send all data nested."""
    sample = server.sample
    if all(len(tensor.shape) < 2 for tensor in sample.tensors):
        raise NotOfferedError("no input has more than one dimension")
    inputs = [tensor.to_json(data=tensor.nest()) for tensor in sample.tensors]
    require_same(read_outputs(server.infer({"inputs": inputs})), server.outputs)


@check("infer.order", "inputs in another order", Level.REQUIRED, "Inference Request JSON Object")
def check_order(server: Server) -> None:
    """Send the inputs from the last one to the first."""
    sample = server.sample
    if len(sample.tensors) < 2:
        raise NotOfferedError("the model has one input")
    inputs = [tensor.to_json() for tensor in reversed(sample.tensors)]
    require_same(read_outputs(server.infer({"inputs": inputs})), server.outputs)


@check("infer.id", "the request's id comes back", Level.REQUIRED, "Inference Request JSON Object")
def check_id(server: Server) -> None:
    """Send an id."""
    _send_id(server, "42")


@check("infer.id-text", "an id may be any text", Level.REQUIRED, "Inference Request JSON Object")
def check_id_of_text(server: Server) -> None:
    """Send an id with characters beyond ASCII."""
    _send_id(server, "Ünï ✓")


def _send_id(server: Server, text: str) -> None:
    document = require_ok(server.infer(server.sample.to_json(id=text)))
    require(document.get("id") == text, f"the id {text!r}")


@check("infer.parameters", "a request may have parameters", Level.REQUIRED, "Parameters")
def check_parameters(server: Server) -> None:
    """Send empty parameters wherever the protocol has them."""
    _send_parameters(server, {})


@check("infer.parameters-unknown", "parameters that a server does not know", Level.ROBUSTNESS, "Parameters")
def check_unknown_parameters(server: Server) -> None:
    """Send a string, numbers and a truth value."""
    _send_parameters(server, _PARAMETERS)


def _send_parameters(server: Server, parameters: dict[str, Any]) -> None:
    expected = server.outputs
    inputs = [tensor.to_json(parameters={**tensor.parameters, **parameters}) for tensor in server.sample.tensors]
    outputs = [{"name": name, "parameters": parameters} for name in expected]
    document = {"parameters": parameters, "inputs": inputs, "outputs": outputs}
    require_same(read_outputs(server.infer(document)), expected)


@check("infer.outputs", "a request chooses outputs", Level.REQUIRED, "Request Output")
def check_outputs(server: Server) -> None:
    """Ask for each output alone."""
    for name, output in list(server.outputs.items())[:5]:
        found = read_outputs(server.infer(server.sample.to_json(outputs=[{"name": name}])))
        require_same(found, {name: output})


@check("infer.outputs-empty", "an empty list of outputs", Level.ROBUSTNESS, "Request Output")
def check_no_outputs(server: Server) -> None:
    """Ask for no output: clients send this and mean all of them."""
    require_same(read_outputs(server.infer(server.sample.to_json(outputs=[]))), server.outputs)


@check("infer.zero-rows", "an axis of size 0", Level.ROBUSTNESS, "Request Input")
def check_zero_rows(server: Server) -> None:
    """Send no rows: an answer without rows, or an error of the client's."""
    sample = server.sample
    inputs = [tensor.to_json(shape=[0, *tensor.shape[1:]], data=[]) for tensor in sample.tensors if tensor.shape]
    if len(inputs) < len(sample.tensors):
        raise NotOfferedError("an input has no axes")
    require_no_failure(server.infer({"inputs": inputs}))


@check("infer.nan", "what is not finite is no reason for an answer that is no JSON", Level.REQUIRED, "RFC 8259, 6")
def check_nan(server: Server) -> None:
    """Send NaN in all ways there are: the answer is JSON, or an error."""
    sample = server.sample
    index = next((at for at, tensor in enumerate(sample.tensors) if tensor.datatype.startswith(("FP", "BF"))), None)
    if index is None or not sample.tensors[index].data:
        raise NotOfferedError("no input has numbers that are not whole")
    count = len(sample.tensors[index].data)
    for value in ("NaN", "Infinity", float("nan"), float("inf")):
        answer = server.infer(sample.change(index, data=[value] * count))
        if answer.status == 200:
            for name, output in read_outputs(answer).items():
                require_output(name, output)


@check("infer.extremes", "the least and the largest values of each datatype", Level.ROBUSTNESS, "Tensor Data Types")
def check_extremes(server: Server) -> None:
    """Send each input's extremes, and odd strings: the model may refuse them, and the server may not fail."""
    sample = server.sample
    for index, tensor in enumerate(sample.tensors):
        for value in list_extremes(tensor.datatype):
            require_no_failure(server.infer(sample.change(index, data=[value] * len(tensor.data))))


@check("infer.no-content-type", "a request without a content type", Level.ROBUSTNESS, "clients leave it out")
def check_no_content_type(server: Server) -> None:
    """Send no content type."""
    require_same(read_outputs(server.infer(server.sample.to_json(), headers=())), server.outputs)


@check("infer.charset", "a content type with a charset", Level.ROBUSTNESS, "RFC 9110, 8.3.1")
def check_charset(server: Server) -> None:
    """Say that the JSON is in UTF-8."""
    headers = ("Content-Type: Application/JSON; charset=utf-8",)
    require_same(read_outputs(server.infer(server.sample.to_json(), headers=headers)), server.outputs)


@check("infer.members", "members that the protocol does not have", Level.ROBUSTNESS, "extensions add members")
def check_more_members(server: Server) -> None:
    """Send a member more: an answer, or an error of the client's."""
    require_no_failure(server.infer(server.sample.to_json(more={"a": [1]})))
