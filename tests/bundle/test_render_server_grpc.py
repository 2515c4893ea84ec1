"""What a generated server answers over gRPC: to protobuf's own messages, in both forms of tensors."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import onnx
import open_inference_pb2 as messages
import pytest
from bundle_examples import BATCHING, IRIS, ODD, TRANSACTIONS, write_modules
from calling import DTYPES, FIELDS, HEALTH, call, calling, make_request, pack, read_answer, refuse
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from serving import Server, serving, start, wait_until

from onnxpack.bundle.render import ModuleView
from onnxpack.bundle.views import DATATYPES
from onnxpack.core.values import Axis, TensorInfo

TENSORS = {dtype: TensorInfo(f"in_{dtype}", dtype, ("n", 2)) for dtype in DATATYPES if dtype != "float16"}
KINDS = replace(
    IRIS,
    name="kinds",
    inputs=tuple(TENSORS.values()),
    outputs=tuple(replace(info, name=f"out_{dtype}") for dtype, info in TENSORS.items()),
    axes=(Axis("n", 0, 1, 200_000),),
    max_body=8 * 2**20,
    warmup=False,
)
HALF = replace(
    KINDS,
    name="half",
    inputs=(TensorInfo("h", "float16", (2,)), TensorInfo("f", "float32", (2,))),
    outputs=(TensorInfo("h2", "float16", (2,)), TensorInfo("f2", "float32", (2,))),
    axes=(),
)
FLOWERS = [[0, 0, 9, 1], [9, 0, 0, 1]]
IRIS_ARRAYS = {"float_input": ("FP32", np.array(FLOWERS, np.float32))}
SLOW = """
import time
import messages
quick = messages.read
def slow(body):
    time.sleep(0.3)
    return quick(body)
messages.read = slow
"""


def save_identity(path: Path, view: ModuleView) -> None:
    """Every output is the input in its place."""
    pairs = zip(view.inputs, view.outputs, strict=True)
    nodes = [helper.make_node("Identity", [one.name], [other.name]) for one, other in pairs]
    kinds = {"string": onnx.TensorProto.STRING}
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                info.name, kinds.get(info.dtype) or helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)), info.shape
            )
            for info in infos
        ]
        for infos in (view.inputs, view.outputs)
    )
    graph = helper.make_graph(nodes, view.name, inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


@pytest.fixture(scope="module")
def folders(apps: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Apps that speak gRPC too."""
    found = {}
    for view in (IRIS, TRANSACTIONS, ODD, KINDS, HALF):
        folder = found[view.name] = tmp_path_factory.mktemp(view.name)
        write_modules(folder, replace(view, server="http+grpc"))
        if view in (KINDS, HALF):
            save_identity(folder / "model.onnx", view)
        else:
            (folder / "model.onnx").write_bytes((apps[view.name] / "model.onnx").read_bytes())
    return found


@pytest.fixture(scope="module")
def iris(folders: dict[str, Path]) -> Iterator[Server]:
    with serving(folders["iris"]) as server:
        yield server


@pytest.fixture(scope="module")
def channel(iris: Server) -> Iterator[grpc.Channel]:
    with calling(iris) as channel:
        yield channel


@pytest.fixture
def module(folders: dict[str, Path], load: Callable[..., ModuleType]) -> Iterator[ModuleType]:
    """The reader and writer of messages of the model that has every type."""
    yield load(folders["kinds"], "messages")
    for name in ("messages", "wire"):
        sys.modules.pop(name, None)


def test_the_stubs_are_made_of_the_protocols_text() -> None:
    text = Path(__file__).parents[2].joinpath("onnxpack/conformance/open_inference.proto").read_text()
    text = re.sub(r"//[^\n]*", "", text)
    calls = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", text)
    service = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert calls == [(one.name, one.input_type.name, one.output_type.name) for one in service.methods]
    told, path = set(), []
    for word in re.finditer(
        r"(message|oneof|service)\s+(\w+)\s*\{|(\})|(repeated )?(\w[\w<>, ]*) (\w+) = (\d+);", text
    ):
        if word[1]:
            path.append(word[2] if word[1] == "message" else "")
        elif word[3] and path:
            path.pop()
        elif word[5]:
            told.add((".".join(filter(None, path)), bool(word[4]), word[5].strip(), word[6], int(word[7])))
    assert told == {
        field for message in messages.DESCRIPTOR.message_types_by_name.values() for field in fields(message)
    }
    assert len(told) > 50


def fields(message: Any, outer: str = "") -> Iterator[tuple[str, bool, str, str, int]]:
    """The fields of a message and of those inside it, as they are written."""
    words = {
        1: "double",
        2: "float",
        3: "int64",
        4: "uint64",
        5: "int32",
        8: "bool",
        9: "string",
        12: "bytes",
        13: "uint32",
    }
    name = f"{outer}{message.name}"
    for field in message.fields:
        kind = words.get(field.type) or field.message_type.name
        many = field.is_repeated
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            kind, many = f"map<string, {words.get(value.type) or value.message_type.name}>", False
        yield name, many, kind, field.name, field.number
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            yield from fields(inner, f"{name}.")


def test_the_server_and_the_model_are_described(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive", messages.ServerLiveRequest()).live
    assert call(channel, "ServerReady", messages.ServerReadyRequest()).ready
    for version in ("", "1.0.0"):
        request = messages.ModelReadyRequest(name="iris", version=version)
        assert call(channel, "ModelReady", request).ready
        answer = call(channel, "ModelMetadata", request)
        assert (answer.name, list(answer.versions), answer.platform) == ("iris", ["1.0.0"], "onnxruntime_onnx")
        told = [(one.name, one.datatype, list(one.shape)) for one in (*answer.inputs, *answer.outputs)]
        assert told == [("float_input", "FP32", [-1, 4]), ("label", "INT64", [-1]), ("probabilities", "FP32", [-1, 3])]
    answer = call(channel, "ServerMetadata", messages.ServerMetadataRequest())
    assert (answer.name, answer.version) == ("iris", "1.0.0")


def test_the_health_service_answers_as_kubernetes_asks(channel: grpc.Channel) -> None:
    check = channel.unary_unary(HEALTH)
    assert check(b"") == b"\x08\x01"
    name = b"inference.GRPCInferenceService"
    assert check(b"\x0a" + bytes([len(name)]) + name) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as caught:
        check(b"\x0a\x01x")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("raw", [False, True])
def test_answers_are_those_over_http_in_the_form_of_the_request(iris: Server, channel: grpc.Channel, raw: bool) -> None:
    answer = call(channel, "ModelInfer", make_request("iris", IRIS_ARRAYS, raw, id="7"))
    assert (answer.model_name, answer.model_version, answer.id) == ("iris", "1.0.0", "7")
    assert bool(answer.raw_output_contents) == raw
    body = {"inputs": [{"name": "float_input", "datatype": "FP32", "shape": [2, 4], "data": FLOWERS}]}
    _, expected = iris.ask("POST", "/v2/models/iris/infer", repr(body).replace("'", '"').encode())
    found = read_answer(answer)
    assert list(found) == ["label", "probabilities"]
    for output in expected["outputs"]:
        array = found[output["name"]]
        assert array.shape == tuple(output["shape"])
        assert array.ravel().tolist() == np.array(output["data"], array.dtype).tolist()


def test_outputs_can_be_chosen_and_parameters_are_taken(channel: grpc.Channel) -> None:
    request = make_request("iris", IRIS_ARRAYS, model_version="1.0.0")
    request.outputs.add(name="probabilities")
    request.parameters["priority"].int64_param = 3
    request.inputs[0].parameters["note"].string_param = "x"
    assert list(read_answer(call(channel, "ModelInfer", request))) == ["probabilities"]
    request.outputs.add(name="label")
    assert list(read_answer(call(channel, "ModelInfer", request))) == ["probabilities", "label"]


def extremes() -> dict[str, tuple[str, Any]]:
    """For every dtype an array with its least and its greatest value."""
    found: dict[str, tuple[str, Any]] = {}
    for dtype in TENSORS:
        if dtype == "string":
            array = np.array([["", "\N{SNOWMAN} \0"], ["x" * 300, "y"]], object)
        elif dtype == "bool":
            array = np.array([[True, False], [False, False]])
        elif dtype.startswith("float"):
            array = np.array([[np.nan, -np.inf], [np.finfo(dtype).tiny, -0.0]], dtype)
        else:
            array = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max], [0, 127]], dtype)
        found[f"in_{dtype}"] = (DATATYPES[dtype], array)
    return found


@pytest.mark.parametrize("raw", [False, True])
def test_every_type_comes_back_as_it_was_sent(folders: dict[str, Path], raw: bool) -> None:
    with serving(folders["kinds"]) as server, calling(server) as channel:
        sent = extremes()
        found = read_answer(call(channel, "ModelInfer", make_request("kinds", sent, raw)))
        for name, (datatype, array) in sent.items():
            back = found[name.replace("in_", "out_")]
            assert pack(datatype, back) == pack(datatype, array), name
        empty = {name: (datatype, array[:0]) for name, (datatype, array) in sent.items()}
        found = read_answer(call(channel, "ModelInfer", make_request("kinds", empty, raw)))
        assert {array.shape for array in found.values()} == {(0, 2)}


def test_half_floats_go_raw_whatever_the_request_was(folders: dict[str, Path]) -> None:
    arrays = {"h": ("FP16", np.array([1.5, -2], np.float16)), "f": ("FP32", np.array([3, 4], np.float32))}
    with serving(folders["half"]) as server, calling(server) as channel:
        found = read_answer(call(channel, "ModelInfer", make_request("half", arrays, raw=True)))
        assert [array.tolist() for array in found.values()] == [[1.5, -2], [3, 4]]
        request = make_request("half", {"f": arrays["f"]})
        request.inputs.add(name="h", datatype="FP16", shape=[2]).contents.fp32_contents.extend([1, 2])
        assert refuse(channel, "ModelInfer", request) == (
            "INVALID_ARGUMENT",
            "input 'h': FP16 has no contents of its own: use 'raw_input_contents'",
        )


@pytest.mark.parametrize("dtype", [one for one in TENSORS if one.startswith(("int", "uint"))])
def test_many_integers_of_all_lengths_are_read_and_written_right(module: ModuleType, dtype: str) -> None:
    chance = np.random.default_rng(7)
    bits = np.iinfo(dtype).bits
    values = (chance.integers(0, 2**63, 150_001, np.uint64) >> chance.integers(0, 64, 150_001, np.uint64)).astype(dtype)
    values[::2] = ~values[::2] if bits > 8 else values[::2]
    field = FIELDS[DATATYPES[dtype]]
    contents = messages.InferTensorContents(**{field: values.tolist()})
    kind = getattr(np, dtype)
    read = module.read_contents([memoryview(contents.SerializeToString())], kind, [150_001])
    assert read.dtype == dtype
    assert (read == values).all()
    written = messages.InferTensorContents.FromString(module.write_contents(DATATYPES[dtype], values))
    assert written == contents
    if bits < 64:
        too_large = messages.InferTensorContents(**{field: [min(2 ** (bits + 1), 2**31 - 1) if bits < 32 else 0]})
        if bits < 32:
            with pytest.raises(ValueError, match=f"does not fit {DATATYPES[dtype]}"):
                module.read_contents([memoryview(too_large.SerializeToString())], kind, [1])
    with pytest.raises(ValueError, match="the shape takes 3 numbers, and there are more"):
        module.read_contents([memoryview(contents.SerializeToString())], kind, [3])
    with pytest.raises(ValueError, match="takes 200000 numbers, and there are 150001"):
        module.read_contents([memoryview(contents.SerializeToString())], kind, [200_000])


def test_elements_may_come_one_by_one_and_in_parts(module: ModuleType) -> None:
    """What protobuf allows besides one packed field, its classes do not write: so by hand."""
    integers = b"\x18\x01" + b"\x1a\x03\x02\xac\x02" + b"\x1a\x00" + b"\x18\xac\x02"
    assert messages.InferTensorContents.FromString(integers).int64_contents == [1, 2, 300, 300]
    assert module.read_contents([memoryview(integers)], np.int64, [4]).tolist() == [1, 2, 300, 300]
    floats = b"\x35\x00\x00\x80\x3f" + b"\x32\x04\x00\x00\x00\x40"
    assert messages.InferTensorContents.FromString(floats).fp32_contents == [1, 2]
    assert module.read_contents([memoryview(floats)], np.float32, [2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="a number without an end"):
        module.read_contents([memoryview(b"\x1a\x01\xac")], np.int64, [1])


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_protobuf_reads_is_read_the_same(data: st.DataObject) -> None:
    request = REQUESTS.get("request")
    assert request is not None
    flipped = bytearray(request)
    for _ in range(data.draw(st.integers(1, 4))):
        flipped[data.draw(st.integers(0, len(flipped) - 1))] = data.draw(st.integers(0, 255))
    module = REQUESTS["module"]
    try:
        known = messages.ModelInferRequest.FromString(bytes(flipped))
    except DecodeError:  # then ours has to refuse it too
        known = None
    try:
        found = module.read(bytes(flipped))
    except ValueError:
        return
    assert known is not None, "it took what protobuf refuses"
    assert (found.id or "") == known.id
    for index, tensor in enumerate(known.inputs):
        array = found.arrays[tensor.name]
        assert list(array.shape) == list(tensor.shape)
        assert pack(tensor.datatype, array) == known.raw_input_contents[index]


REQUESTS: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _requests(request: pytest.FixtureRequest) -> None:
    if "protobuf_reads" in request.node.name:
        arrays = {name: (datatype, array[:1]) for name, (datatype, array) in extremes().items()}
        REQUESTS["request"] = make_request("kinds", arrays, raw=True, id="a").SerializeToString()
        REQUESTS["module"] = request.getfixturevalue("module")


def change(**fields: Any) -> bytes:
    """A good request of two flowers whose input is changed."""
    request = make_request("iris", IRIS_ARRAYS)
    tensor = request.inputs[0]
    for name, value in fields.items():
        if name == "shape":
            del tensor.shape[:]
            tensor.shape.extend(value)
        elif name == "contents":
            del tensor.contents.fp32_contents[:]
            tensor.contents.fp32_contents.extend(value)
        else:
            setattr(tensor, name, value)
    return request.SerializeToString()


def add(**fields: Any) -> bytes:
    """A good request with more fields."""
    return change() + messages.ModelInferRequest(**fields).SerializeToString()


TENSOR = messages.ModelInferRequest.InferInputTensor
OUTPUT = messages.ModelInferRequest.InferRequestedOutputTensor
WRONG = {
    "nothing": (b"\x0a\x04iris", "input 'float_input' is missing"),
    "a datatype": (change(datatype="FP64"), "input 'float_input': 'datatype' must be 'FP32', got 'FP64'"),
    "a rank": (change(shape=[8]), "input 'float_input': the shape must be [batch, 4], got [8]"),
    "a size": (change(shape=[4, 2]), "input 'float_input', dimension 1: must be 4, got 2"),
    "a negative size": (change(shape=[-1, 4]), "input 'float_input': 'shape' must be a list of sizes, got [-1, 4]"),
    "a huge size": (change(shape=[2**62, 4]), f"dimension 0 (batch): must be 1 to 64, got {2**62}"),
    "a huge rank": (change(shape=[1] * 700), "a shape has too many sizes"),
    "too few elements": (change(contents=[1]), "input 'float_input': the shape [2, 4] takes 32 bytes, not 4"),
    "no elements": (change(contents=[]), "input 'float_input': the shape [2, 4] takes 32 bytes, not 0"),
    "another name": (change(name="x"), "input 'float_input' is missing"),
    "an input too much": (add(inputs=[TENSOR(name="x")]), "there is no input 'x'; the inputs are 'float_input'"),
    "an input twice": (add(inputs=[TENSOR(name="float_input")]), "must have a 'name' of its own, got 'float_input'"),
    "an unknown output": (add(outputs=[OUTPUT(name="x")]), "there is no output 'x'; the outputs are"),
    "an output twice": (add(outputs=[OUTPUT(name="label")] * 2), "must have a 'name' of its own, got 'label'"),
    "both forms": (add(raw_input_contents=[b"x"]), "it has both 'contents' and 'raw_input_contents'"),
    "raw of too many": (add(raw_input_contents=[b"", b""]), "there are 1 inputs, and 2 'raw_input_contents'"),
    "a text of bytes": (b"\x0a\x01\xff", "the message holds a text that is not UTF-8"),
    "half a field": (b"\x0a\x05iris", "the message ends within a field"),
    "half a number": (b"\x0a\x80", "the message holds a number without an end"),
    "a group": (b"\x0b\x0c", "the message has a field of the unknown kind 3"),
    "a long number": (b"\x08" + b"\xff" * 11, "the message holds a number without an end"),
    "contents twice": (b"\x0a\x04iris\x2a" + bytes([4 + 21]) + b"\x0a\x0bfloat_input\x12\x04FP32\x2a\x00\x2a\x00", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_an_invalid_argument_that_says_why(channel: grpc.Channel, name: str) -> None:
    body, message = WRONG[name]
    code, details = refuse(channel, "ModelInfer", body)
    assert code == "INVALID_ARGUMENT"
    assert message in details


@pytest.mark.parametrize(("model", "version"), [("other", ""), ("", ""), ("iris", "2"), ("other", "1.0.0")])
def test_another_model_or_version_is_not_found(channel: grpc.Channel, model: str, version: str) -> None:
    request = make_request(model, IRIS_ARRAYS, model_version=version)
    about = messages.ModelReadyRequest(name=model, version=version)
    for method, message in (("ModelInfer", request), ("ModelReady", about), ("ModelMetadata", about)):
        code, details = refuse(channel, method, message)
        assert code == "NOT_FOUND"
        assert details == f"there is no model {model!r} of version {version!r}; the model is 'iris' of version '1.0.0'"


def test_other_methods_are_not_implemented(channel: grpc.Channel) -> None:
    for method in ("/inference.GRPCInferenceService/ModelStreamInfer", "/a.B/C", "/x"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(method)(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message_is_refused(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")(iter([]), timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_calls_at_the_same_time_get_their_own_answers(channel: grpc.Channel) -> None:
    def ask(index: int) -> tuple[int, int]:
        flower = np.zeros((1, 4), np.float32)
        flower[0, index % 3] = 5
        answer = call(channel, "ModelInfer", make_request("iris", {"float_input": ("FP32", flower)}, index % 2 == 1))
        return index % 3, int(read_answer(answer)["label"][0])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))
    assert all(asked == got for asked, got in answers)


def test_metrics_count_calls_by_the_status_that_http_has_for_them(folders: dict[str, Path]) -> None:
    with serving(folders["iris"]) as server, calling(server) as channel:
        call(channel, "ModelInfer", make_request("iris", IRIS_ARRAYS))
        refuse(channel, "ModelInfer", WRONG["a rank"][0])
        refuse(channel, "ModelInfer", make_request("other", IRIS_ARRAYS))
        counts = {code: server.metric(f'onnxpack_requests_total{{code="{code}"}}') for code in (400, 404)}
        assert counts == {400: 1, 404: 1}
        assert server.metric('onnxpack_requests_total{code="200"}') >= 1


def test_a_failure_of_the_model_is_internal_and_says_nothing_of_it(folders: dict[str, Path]) -> None:
    broken = "import messages\ndef fail(body): raise RuntimeError('secret')\nmessages.read = fail"
    server = start(folders["iris"], broken)
    with calling(server) as channel:
        request = make_request("iris", IRIS_ARRAYS)
        assert refuse(channel, "ModelInfer", request) == ("INTERNAL", "internal error: see the server's log")
    log = server.stop()
    assert "ModelInfer of inference.GRPCInferenceService failed" in log
    assert "secret" in log


def test_a_full_queue_is_unavailable_and_says_when_to_try_again(folders: dict[str, Path]) -> None:
    slow = f"{SLOW}\napp.MAX_QUEUE = 1\napp.INLINE_SECONDS = -1\nimport rpc\nrpc.INLINE_SECONDS = -1"
    with serving(folders["iris"], slow) as server, calling(server) as channel:
        data = make_request("iris", IRIS_ARRAYS).SerializeToString()
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [ask.future(data, timeout=30) for _ in range(12)]
        codes = [one.code() for one in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        refused = calls[codes.index(grpc.StatusCode.UNAVAILABLE)]
        assert re.fullmatch(r"too many requests are waiting: try again in \d+ s", refused.details())
        assert int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"]) >= 1000


def test_calls_that_were_cancelled_or_are_too_late_do_not_run(folders: dict[str, Path]) -> None:
    slow = f"{SLOW}\nimport rpc\nrpc.INLINE_SECONDS = -1"
    with serving(folders["iris"], slow) as server, calling(server) as channel:
        data = make_request("iris", IRIS_ARRAYS).SerializeToString()
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        running = [ask.future(data, timeout=30) for _ in range(4)]
        wait_until(lambda: server.metric("onnxpack_running_requests") >= 2)
        late = [ask.future(data, timeout=0.1) for _ in range(5)]
        left = [ask.future(data, timeout=30) for _ in range(5)]
        wait_until(lambda: server.metric("onnxpack_queue_requests") >= 5)
        for one in left:
            one.cancel()
        assert [one.code() for one in running] == [grpc.StatusCode.OK] * 4
        assert {one.code() for one in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        wait_until(lambda: server.metric("onnxpack_dropped_requests_total") >= 5)
        wait_until(lambda: server.metric("onnxpack_running_requests") == 0)


def test_a_drain_answers_what_was_accepted_and_refuses_the_rest(folders: dict[str, Path]) -> None:
    server = start(folders["iris"], f"{SLOW}\nimport rpc\nrpc.INLINE_SECONDS = -1")
    with calling(server) as channel:
        request = make_request("iris", IRIS_ARRAYS)
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [ask.future(request.SerializeToString(), timeout=30) for _ in range(12)]
        wait_until(lambda: server.metric("onnxpack_queue_requests") >= 8)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not call(channel, "ServerReady", messages.ServerReadyRequest()).ready)
        assert not call(channel, "ModelReady", messages.ModelReadyRequest(name="iris")).ready
        assert call(channel, "ServerLive", messages.ServerLiveRequest()).live
        assert channel.unary_unary(HEALTH)(b"") == b"\x08\x02"
        code, details = refuse(channel, "ModelInfer", request)
        assert (code, details) == ("UNAVAILABLE", "the server is stopping: try again in 1 s")
        assert [one.code() for one in calls] == [grpc.StatusCode.OK] * 12
        _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 0
    assert errors.partition("\n")[2] == ""


def test_a_drain_ends_in_time_though_a_call_does_not(folders: dict[str, Path]) -> None:
    hang = "import messages\nimport time\nmessages.read = lambda body: time.sleep(60)"
    server = start(folders["iris"], f"{hang}\napp.DRAIN_SECONDS = 0.3\nimport rpc\nrpc.INLINE_SECONDS = -1")
    with calling(server) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        one = ask.future(make_request("iris", IRIS_ARRAYS).SerializeToString(), timeout=30)
        wait_until(lambda: server.metric("onnxpack_running_requests") == 1)
        began = time.monotonic()
        log = server.stop()
        assert time.monotonic() - began < 20
        assert "1 requests are unanswered after 0.3 seconds" in log
        assert one.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_port_in_use_is_said_and_ends_the_server(folders: dict[str, Path]) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC does by itself, and shares the port
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "server", "--host", "127.0.0.1", "--port", "0", "--grpc-port", str(port)]
        done = subprocess.run(command, cwd=folders["iris"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"iris: cannot listen on port {port}: it is in use, or not allowed\n"


def test_ports_come_from_the_spec_and_the_environment(folders: dict[str, Path], monkeypatch: Any) -> None:
    def show() -> str:
        program = "import serving; print(serving.PORT, serving.GRPC_PORT)"
        return subprocess.run(
            [sys.executable, "-c", program], cwd=folders["iris"], capture_output=True, text=True
        ).stdout

    monkeypatch.delenv("ONNXPACK_PORT", raising=False)
    assert show() == "8080 8081\n"
    monkeypatch.setenv("ONNXPACK_PORT", "9000")
    assert show() == "9000 9001\n"
    monkeypatch.setenv("ONNXPACK_GRPC_PORT", "7000")
    assert show() == "9000 7000\n"


def test_the_interpreter_serves_http_and_grpc_at_once(folders: dict[str, Path]) -> None:
    with serving(folders["transactions"]) as server, calling(server) as channel:
        arrays = {
            "dates": ("FP32", np.ones((1, 2, 6), np.float32)),
            "input_ids": ("INT64", np.ones((1, 2, 20), np.int64)),
            "amounts": ("FP32", np.array([[0.5, 1.5]], np.float32)),
        }
        scores: list[float] = []
        ask = threading.Thread(
            target=lambda: scores.extend(
                read_answer(call(channel, "ModelInfer", make_request("transactions", arrays)))["score"][0]
                for _ in range(50)
            )
        )
        ask.start()
        from serving import request

        for _ in range(50):
            assert server.infer(request())[1]["outputs"][0]["data"] == [54.0]
        ask.join()
        assert scores == [54.0] * 50


def test_calls_run_in_batches_too(folders: dict[str, Path], tmp_path: Path) -> None:
    write_modules(tmp_path, replace(BATCHING, server="http+grpc"))
    (tmp_path / "model.onnx").write_bytes((folders["transactions"] / "model.onnx").read_bytes())

    def ask(amount: int) -> float:
        arrays = {
            "dates": ("FP32", np.ones((1, 2, 6), np.float32)),
            "input_ids": ("INT64", np.ones((1, 2, 20), np.int64)),
            "amounts": ("FP32", np.array([[amount, 0]], np.float32)),
        }
        return float(read_answer(call(channel, "ModelInfer", make_request("transactions", arrays)))["score"][0])

    with serving(tmp_path) as server, calling(server) as channel, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(100))) == [52.0 + amount for amount in range(100)]
        assert server.metric("onnxpack_runs_total") < server.metric("onnxpack_rows_total") == 100


def test_every_datatype_has_a_form_over_grpc() -> None:
    assert set(DTYPES) | {"BYTES"} == set(DATATYPES.values())
    assert set(FIELDS) == set(DATATYPES.values()) - {"FP16"}
