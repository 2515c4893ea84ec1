"""Counters, as Prometheus reads them."""

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Any, Protocol

from inference import NAME, VERSION

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
# Upper ends of the histogram's buckets in seconds: what a client's time-out or an objective is likely to be.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Source(Protocol):
    """What is read when the metrics are asked for."""

    draining: bool
    body_bytes: int
    connections: Any
    workers: Any


class Metrics:
    """Counts answers, and tells all that is counted."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._answers: Counter[int] = Counter()
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)

    def count(self, status: int, seconds: float) -> None:
        """Count an answer, and the seconds since its request's first byte."""
        self._answers[status] += 1
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        source, workers = self._source, self._source.workers
        model = f"name={quote(NAME)},version={quote(VERSION)}"
        lines = ["# HELP onnxpack_model_info The model that is served.", "# TYPE onnxpack_model_info gauge"]
        lines.append(f"onnxpack_model_info{{{model}}} 1")
        name = "onnxpack_requests_total"
        lines += [f"# HELP {name} Answers, by status.", f"# TYPE {name} counter"]
        lines += [f'{name}{{code="{status}"}} {count}' for status, count in sorted(self._answers.items())]
        name = "onnxpack_request_seconds"
        lines += [f"# HELP {name} From a request's first byte to its answer.", f"# TYPE {name} histogram"]
        totals = list(accumulate(self._buckets))
        lines += [
            f'{name}_bucket{{le="{end}"}} {total}'
            for end, total in zip([*BUCKETS, "+Inf"], totals, strict=True)
        ]
        lines += [f"{name}_sum {self._seconds:.6f}", f"{name}_count {totals[-1]}"]
        for name, help_text, value in (
            ("onnxpack_queue_requests", "Requests that wait for a thread.", workers.waiting),
            ("onnxpack_running_requests", "Requests that run.", workers.running),
            ("onnxpack_inflight_bytes", "Bytes of large bodies that arrive, wait or run.", source.body_bytes),
            ("onnxpack_connections", "Open connections.", len(source.connections)),
            ("onnxpack_ready", "Whether new requests are taken.", int(not source.draining)),
        ):
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value}"]
        name = "onnxpack_dropped_requests_total"
        lines += [f"# HELP {name} Requests whose clients left before they ran.", f"# TYPE {name} counter"]
        lines += [f"{name} {workers.dropped}"]
        lines.append("")
        return "\n".join(lines).encode()


def quote(text: str) -> str:
    """The text as a label's value."""
    return '"' + text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'
