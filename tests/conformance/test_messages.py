import pytest

from onnxpack.conformance.messages import load_messages, read_proto


def test_messages_go_over_the_wire_as_the_protocol_numbers_them() -> None:
    messages = load_messages()
    request = messages["ModelInferRequest"](model_name="m", id="7", raw_input_contents=[b"\1"])
    item = request.inputs.add(name="x", datatype="FP32", shape=[1, -1])
    item.contents.fp32_contents.append(1.0)
    item.parameters["a"].bool_param = True
    wire = (
        b"\x0a\x01m" b"\x1a\x017" b"\x2a\x27"
        b"\x0a\x01x" b"\x12\x04FP32" b"\x1a\x0b\x01" + b"\xff" * 9 + b"\x01"
        b"\x22\x07\x0a\x01a\x12\x02\x08\x01" b"\x2a\x06\x32\x04\x00\x00\x80\x3f"
        b"\x3a\x01\x01"
    )  # fmt: skip
    assert request.SerializeToString(deterministic=True) == wire
    assert messages["ModelInferRequest"].FromString(wire) == request


def test_a_parameter_is_of_one_kind() -> None:
    parameter = load_messages()["InferParameter"](int64_param=1)
    parameter.string_param = "a"
    assert parameter.WhichOneof("parameter_choice") == "string_param"


def test_messages_are_those_of_the_service() -> None:
    methods = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
    both = {f"{method}{end}" for method in methods for end in ("Request", "Response")}
    assert set(load_messages()) == both | {"InferParameter", "InferTensorContents"}


@pytest.mark.parametrize("text", ["message A { int32 a = ; }", "message A [", "message A { int32 a 1; }"])
def test_a_text_of_another_form_is_not_read_as_something(text: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read_proto(f"package p; {text}")
