"""The document at /metrics, in Prometheus' text format."""

import resource
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from inference import NAME, VERSION
from metrics import BUCKETS, MAX_ROWS, STAGES, Figures

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
ROW_BUCKETS = [2**power for power in range((MAX_ROWS - 1).bit_length())]

Samples = Mapping[str, float]
"""Values by what follows the metric's name: a suffix and labels."""


def write_metrics(figures: Figures) -> bytes:
    """Write all metrics."""
    one = {name: float(array) for name, array in figures.items() if array.ndim == 0}
    failed, succeeded = figures["predictions"].tolist()
    stages = zip(STAGES, figures["stage_seconds"].tolist(), strict=True)
    lines = [
        *write("model_info", "gauge", "The model that is served.", {label(name=NAME, version=VERSION): 1}),
        *write("requests_total", "counter", "Answers, by status.", by_status(figures["answers"].tolist())),
        *write(
            "request_seconds",
            "histogram",
            "From a request's first byte to its answer.",
            make_histogram(BUCKETS, figures["latencies"].tolist(), one["answer_seconds"]),
        ),
        *write(
            "predictions_total",
            "counter",
            "Predictions that were tried.",
            {label(result="failure"): failed, label(result="success"): succeeded},
        ),
        *write(
            "stage_seconds_total",
            "counter",
            "What successful predictions took: waiting, reading, inference, writing.",
            {label(stage=stage): seconds for stage, seconds in stages},
        ),
        *write(
            "run_rows",
            "histogram",
            "Rows of each run of the model.",
            make_histogram(ROW_BUCKETS, group_rows(figures["runs"].tolist()), one["rows"]),
        ),
        *write("runs_total", "counter", "Runs of the model.", {"": figures["runs"].sum()}),
        *write("rows_total", "counter", "Rows of all runs.", {"": one["rows"]}),
        *write("run_seconds_total", "counter", "What all runs took.", {"": figures["run_seconds"].sum()}),
        *write("dropped_requests_total", "counter", "Requests whose clients left.", {"": one["dropped"]}),
        *write("queue_requests", "gauge", "Requests that wait for a thread.", {"": one["waiting"]}),
        *write("running_requests", "gauge", "Requests that run.", {"": one["running"]}),
        *write("inflight_bytes", "gauge", "Bytes of bodies above 16 KiB.", {"": one["body_bytes"]}),
        *write("connections", "gauge", "Open connections.", {"": one["connections"]}),
        *write("ready", "gauge", "Whether new requests are taken.", {"": one["ready"]}),
        *write_process(one),
        "",
    ]
    return "\n".join(lines).encode()


def write_process(one: Mapping[str, float]) -> Iterable[str]:
    """Write what every program tells, under the names that they agreed on."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, kind, about, value in (
        ("cpu_seconds_total", "counter", "CPU time.", one["cpu_seconds"]),
        ("resident_memory_bytes", "gauge", "Memory in use.", one["memory"]),
        ("open_fds", "gauge", "Open files.", one["files"]),
        ("max_fds", "gauge", "Files that may be open.", most),
        ("start_time_seconds", "gauge", "When it started, in seconds since 1970.", one["started"]),
    ):
        yield from write(name, kind, about, {"": value}, prefix="process_")


def write(name: str, kind: str, about: str, samples: Samples, prefix: str = "onnxpack_") -> Iterable[str]:
    """Write one metric."""
    yield f"# HELP {prefix}{name} {about}"
    yield f"# TYPE {prefix}{name} {kind}"
    for rest, value in samples.items():
        yield f"{prefix}{name}{rest} {repr(float(value)).removesuffix('.0')}"


def make_histogram(ends: Sequence[float], counts: Sequence[float], total: float) -> dict[str, float]:
    """Return a histogram's samples, from the counts between the buckets' ends and the sum of all values."""
    behind = list(accumulate(counts))
    buckets = zip([*map(str, ends), "+Inf"], behind, strict=True)
    samples = {f"_bucket{label(le=end)}": count for end, count in buckets}
    return samples | {"_sum": total, "_count": behind[-1]}


def by_status(counts: Sequence[float]) -> Samples:
    """Return the answers that there were, by status."""
    return {label(code=str(status)): count for status, count in enumerate(counts) if count}


def group_rows(counts: Sequence[float]) -> list[float]:
    """Return the runs in each bucket, from those of each number of rows."""
    starts = [0, *(end + 1 for end in ROW_BUCKETS)]
    return [sum(counts[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def label(**labels: str) -> str:
    """Return labels as the format has them."""
    return "{" + ",".join(f"{name}={quote(value)}" for name, value in labels.items()) + "}"


def quote(text: str) -> str:
    """Return the text as a label's value."""
    return '"' + text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'
