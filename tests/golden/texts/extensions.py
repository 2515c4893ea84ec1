"""Triton's extensions of the protocol that load tools read: the model's configuration and statistics."""

from inference import INPUTS, NAME, OUTPUTS, VERSION, Tensor
from metrics import Figures
from tensors import DATATYPES

NAMES = ["binary_tensor_data", "model_configuration", "statistics"]
MAX_BATCH_SIZE = 8  # rows of a request
INDEX = [{"name": NAME, "version": VERSION, "state": "READY", "reason": ""}]


def describe_config() -> dict[str, object]:
    """Describe the model as Triton's configuration does."""
    return {
        "name": NAME,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": MAX_BATCH_SIZE,
        "input": [{**describe(name, tensor), "format": "FORMAT_NONE"} for name, tensor in INPUTS.items()],
        "output": [{**describe(name, tensor), "label_filename": ""} for name, tensor in OUTPUTS.items()],
        "dynamic_batching": {
            "preferred_batch_size": [8],
            "max_queue_delay_microseconds": 0,
        },
        "instance_group": [{"name": NAME, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "model.onnx",
    }


def describe(name: str, tensor: Tensor) -> dict[str, object]:
    """Describe one input or output, without the axis of the batch."""
    word = DATATYPES[tensor.dtype]
    dims = [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]
    kind = "TYPE_STRING" if word == "BYTES" else f"TYPE_{word}"
    if dims:
        return {"name": name, "data_type": kind, "dims": dims}
    return {"name": name, "data_type": kind, "dims": [1], "reshape": {"shape": []}}


def describe_statistics(figures: Figures) -> dict[str, object]:
    """Describe what the model did so far, as Triton does."""
    failed, succeeded = figures["predictions"].tolist()
    failed_seconds, succeeded_seconds = figures["prediction_seconds"].tolist()
    stages = figures["stage_seconds"].tolist()
    queue, read, infer, write = (duration(succeeded, seconds) for seconds in stages)
    runs = zip(figures["runs"].tolist(), figures["run_seconds"].tolist(), strict=True)
    return {
        "name": NAME,
        "version": VERSION,
        "last_inference": int(figures["newest"] * 1000),
        "inference_count": int(figures["rows"]),
        "execution_count": int(figures["runs"].sum()),
        "inference_stats": {
            "success": duration(succeeded, succeeded_seconds),
            "fail": duration(failed, failed_seconds),
            "queue": queue,
            "compute_input": read,
            "compute_infer": infer,
            "compute_output": write,
            "cache_hit": duration(0, 0),
            "cache_miss": duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": duration(count, 0),  # known of requests only
                "compute_infer": duration(count, seconds),
                "compute_output": duration(count, 0),
            }
            for rows, (count, seconds) in enumerate(runs)
            if count
        ],
        "memory_usage": [],
    }


def duration(count: float, seconds: float) -> dict[str, int]:
    """Return a count, and what all took together in nanoseconds."""
    return {"count": int(count), "ns": round(seconds * 1e9)}
