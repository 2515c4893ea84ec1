"""A reader of Triton's config.pbtxt: the messages of ModelConfig as far as onnxpack writes them, for protobuf's parser.

Names and types of the fields are those of Triton's model_config.proto; in text, their numbers do not matter.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _FIELD.TYPE_STRING, "int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64,
            "uint64": _FIELD.TYPE_UINT64, "bool": _FIELD.TYPE_BOOL, "uint32": _FIELD.TYPE_UINT32}  # fmt: skip
_ENUMS = {
    "DataType": (
        "TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8",
        "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16",
    ),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}  # fmt: skip
_MESSAGES = {
    "Reshape": {"shape": "*int64"},
    "Input": {"name": "string", "data_type": "DataType", "dims": "*int64", "reshape": "Reshape"},
    "Output": {"name": "string", "data_type": "DataType", "dims": "*int64", "reshape": "Reshape"},
    "DynamicBatching": {"preferred_batch_size": "*int32", "max_queue_delay_microseconds": "uint64"},
    "InstanceGroup": {"name": "string", "kind": "Kind", "count": "int32", "gpus": "*int32"},
    "Parameter": {"string_value": "string"},
    "ParametersEntry": {"key": "string", "value": "Parameter"},
    "WarmupInput": {"data_type": "DataType", "dims": "*int64", "zero_data": "bool", "random_data": "bool"},
    "InputsEntry": {"key": "string", "value": "WarmupInput"},
    "Warmup": {"name": "string", "batch_size": "uint32", "inputs": "*InputsEntry", "count": "uint32"},
    "ModelConfig": {
        "name": "string", "platform": "string", "backend": "string", "default_model_filename": "string",
        "max_batch_size": "int32", "input": "*Input", "output": "*Output", "dynamic_batching": "DynamicBatching",
        "instance_group": "*InstanceGroup", "parameters": "*ParametersEntry", "model_warmup": "*Warmup",
    },
}  # fmt: skip


def read_config(text: str) -> Any:
    """Return a ModelConfig; a field or value that Triton does not know raises ``text_format.ParseError``."""
    return text_format.Parse(text, _make_class()())


def _make_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="triton", syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            word = kind.removeprefix("*")
            made = message.field.add(name=field, number=number)
            made.label = _FIELD.LABEL_REPEATED if kind != word else _FIELD.LABEL_OPTIONAL
            if word in _SCALARS:
                made.type = _SCALARS[word]
            else:
                made.type = _FIELD.TYPE_ENUM if word in _ENUMS else _FIELD.TYPE_MESSAGE
                made.type_name = f".triton.{word}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))
