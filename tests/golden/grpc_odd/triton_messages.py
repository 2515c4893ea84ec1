"""Triton's extensions of the protocol over gRPC: the documents of extensions.py as its messages.

Their fields are numbered as in Triton's grpc_service.proto and model_config.proto.
"""

from collections.abc import Mapping
from typing import Any

import extensions
from metrics import Figures
from wire import write_field, write_number

Fields = dict[str, tuple[int, Any]]
"""The fields of a message by name: each with its number, and with its own fields or its words' numbers."""

WORDS = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING"
DATA_TYPES = {f"TYPE_{word}": number for number, word in enumerate(WORDS.split(), start=1)}


def count_fields(names: str, inner: Any = None, start: int = 1) -> Fields:
    """Number fields of one kind one after the other."""
    return {name: (number, inner) for number, name in enumerate(names.split(), start)}


RESHAPE = count_fields("shape")
INPUT = {"name": (1, None), "data_type": (2, DATA_TYPES), "dims": (4, None), "reshape": (5, RESHAPE)}
OUTPUT = {"name": (1, None), "data_type": (2, DATA_TYPES), "dims": (3, None), "reshape": (5, RESHAPE)}
GROUP = {"name": (1, None), "count": (2, None), "kind": (4, {"KIND_GPU": 1, "KIND_CPU": 2})}
CONFIG = {
    **count_fields("name platform"),
    "version_policy": (3, {"latest": (1, count_fields("num_versions"))}),
    "max_batch_size": (4, None),
    "input": (5, INPUT),
    "output": (6, OUTPUT),
    "instance_group": (7, GROUP),
    "default_model_filename": (8, None),
    "dynamic_batching": (11, count_fields("preferred_batch_size max_queue_delay_microseconds")),
    "backend": (17, None),
}
DURATION = count_fields("count ns")
COMPUTE = "compute_input compute_infer compute_output"
STATISTICS = {
    **count_fields("name version last_inference inference_count execution_count"),
    "inference_stats": (6, count_fields(f"success fail queue {COMPUTE} cache_hit cache_miss", DURATION)),
    "batch_stats": (7, {"batch_size": (1, None), **count_fields(COMPUTE, DURATION, start=2)}),
}
INDEX = count_fields("name version state reason")


def write_message(document: Mapping[str, Any], fields: Fields) -> bytes:
    """Write a document as a message; what the message has no field for is left out."""
    parts = []
    for name, (number, inner) in fields.items():
        found = document.get(name, [])
        for value in found if isinstance(found, list) else [found]:
            if isinstance(value, dict):
                parts.append(write_field(number, write_message(value, inner)))
            elif isinstance(value, str) and inner is None:
                parts.append(write_field(number, value.encode()))
            else:
                parts.append(write_number(number, inner[value] if inner else value & (2**64 - 1)))
    return b"".join(parts)


def describe_config() -> bytes:
    """Write a ModelConfigResponse."""
    return write_field(1, write_message(extensions.describe_config(), CONFIG))


def describe_statistics(figures: Figures) -> bytes:
    """Write a ModelStatisticsResponse."""
    return write_field(1, write_message(extensions.describe_statistics(figures), STATISTICS))


def describe_index() -> bytes:
    """Write a RepositoryIndexResponse."""
    return b"".join(write_field(1, write_message(item, INDEX)) for item in extensions.INDEX)
