"""The fields of a spec on delivery: targets, gates, the server and the image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from onnxpack.spec.choices import DeviceName, Precision
from onnxpack.spec.constraints import Between, Duration, Size
from onnxpack.spec.field_types import (
    ImageName,
    ImageReference,
    LabelKey,
    Line,
    Positive,
    Ratio,
    Requirement,
    TensorName,
    Text,
    VariableName,
    describe_field,
)

Isa = Literal["avx2", "avx512", "avx-vnni", "avx512-vnni", "amx", "neon", "neon-dotprod", "neon-i8mm"]
PythonVersion = Literal["3.11", "3.12", "3.13", "3.14"]


@dataclass(frozen=True)
class Gates:
    """Limits that fail a build that breaks one; a target's own limits replace the common ones, one by one."""

    max_degradation: Ratio | None = describe_field(
        "How much worse than the source model the shipped model may score: an absolute difference, or a relative one "
        "for mse, mae and metrics of your own.",
        None,
        example="0.01",
        need="score",
    )
    min_score: Annotated[float, Between(-1e9, 1e9)] | None = describe_field(
        "The lowest score that the shipped model may have on the evaluation data, in any precision; not for mse and "
        "mae, where less is better.",
        None,
        example="0.95",
        need="score",
    )
    min_speedup: Annotated[float, Between(0, 1000)] | None = describe_field(
        "The lowest measured speed of a reduced precision, relative to float32.", None, example="1.0", need="speed"
    )
    image_size: Annotated[int, Size(1, 2**50)] | None = describe_field(
        "The largest size of the uncompressed image.", None, example="150MB", need="image"
    )
    cold_start: Annotated[float, Duration(0, 3600)] | None = describe_field(
        "The longest time from the container's start until it is ready.", None, example="2s", need="container"
    )
    first_answer: Annotated[float, Between(1, 1e6)] | None = describe_field(
        "The longest first answer of a server that is ready, as a multiple of the median of later ones. Each is "
        "asked for alone, after a pause.",
        None,
        example="1.5",
        need="container",
    )
    latency_p50: Annotated[float, Duration(0, 3600)] | None = describe_field(
        "The highest median time of one request, at the axes' opt sizes.", None, example="5ms", need="container"
    )
    peak_memory: Annotated[int, Size(1, 2**50)] | None = describe_field(
        "The most memory that the serving process may use.", None, example="400MB", need="container"
    )
    rss_growth: Annotated[int, Size(1, 2**50)] | None = describe_field(
        "The most that the serving process' memory may grow over requests of all declared sizes, the first third of "
        "them left out.",
        None,
        example="32MB",
        need="soak",
    )
    gpu_nodes: Ratio | None = describe_field(
        "The least share of the model's nodes that must run on the GPU; an image with fewer refuses to start.",
        None,
        example="0.95",
        need="gpu",
    )


@dataclass(frozen=True)
class Target:
    """One image to build: where it runs, and in which precision."""

    device: DeviceName = describe_field("The hardware that the image runs on.", "cpu", example="cuda")
    precision: Precision = describe_field(
        "The number format of the shipped model: of its arithmetic, or with `-weights` of its weights only. auto "
        "chooses the best one that passes all checks.",
        "float32",
        example="float32",
    )
    optimize: Literal["none", "basic", "extended", "all"] = describe_field(
        "How far onnxruntime optimises the graph during the build, besides what it does when it loads the model.",
        "none",
        example="none",
    )
    objective: Literal["latency", "size", "throughput"] | None = describe_field(
        "With precision auto: what to choose the model by. Default: latency.", None, example="size"
    )
    platform: Literal["linux/amd64", "linux/arm64"] = describe_field(
        "The platform of the machines that the image runs on.", "linux/amd64", example="linux/arm64"
    )
    isa: Isa | None = describe_field(
        "The best instruction set for 8-bit arithmetic that all machines have which run the image; `avx2` and "
        "`avx512` mean CPUs without VNNI. Default: the image must work on any CPU of the platform.",
        None,
        example="avx512-vnni",
    )
    threads: Positive | None = describe_field(
        "The number of threads for this image, instead of runtime.threads.", None, example="2"
    )
    exclude_nodes: tuple[TensorName, ...] = describe_field(
        "Nodes to keep in float32, by node name or operator type.", (), example="[node_conv2d]"
    )
    per_channel: bool | None = describe_field(
        "Whether quantized weights have a scale for each channel. Default: where the runtime supports it.",
        None,
        example="true",
    )
    gates: Gates | None = describe_field(
        "Limits for this image only; each replaces the common limit of the same name.",
        None,
        example="{latency_p50: 5ms}",
    )


@dataclass(frozen=True)
class Batching:
    """How the server combines requests into batches."""

    max_batch_size: Positive = describe_field("The largest number of rows in one run of the model.", example="32")
    max_queue_delay: Annotated[float, Duration(0, 60)] = describe_field(
        "The longest time that a request waits for others to join it.", 0.0, example="2ms"
    )


@dataclass(frozen=True)
class Runtime:
    """The server in the image."""

    server: Literal["none", "http", "http+grpc"] = describe_field(
        "The protocol of the server; http+grpc listens for gRPC besides, on the next port; none makes an image with a "
        "command line instead.",
        "http",
        example="http+grpc",
    )
    port: Annotated[int, Between(1, 65535)] = describe_field(
        "The port that the server listens on; gRPC's is the next one.", 8080, example="8000"
    )
    threads: Positive | Literal["auto"] = describe_field(
        "The number of threads that run the model, in each worker; auto takes the container's CPU quota, divided among "
        "the workers.",
        "auto",
        example="4",
    )
    max_body: Annotated[int, Size(1024, 2**40)] | None = describe_field(
        "The largest request body that the server accepts. Default: what the largest request takes as indented JSON, "
        "but at most 64MiB.",
        None,
        example="64MiB",
    )
    warmup: bool = describe_field(
        "Whether to run the model once before the server reports that it is ready.", True, example="false"
    )
    batching: Batching | None = describe_field(
        "Dynamic batching of requests.", None, example="{max_batch_size: 32, max_queue_delay: 2ms}"
    )
    workers: Annotated[int, Between(1, 64)] = describe_field(
        "The number of processes that serve the port, each with the model and limits of its own. More than one is for "
        "models so small that Python's share of a request counts; one that dies is started again.",
        1,
        example="2",
    )
    max_queue: Positive = describe_field(
        "The largest number of requests that may wait for a thread; more are answered with 503 at once.",
        256,
        example="64",
    )
    drain: Annotated[float, Duration(0, 3600)] = describe_field(
        "The longest time after SIGTERM for accepted requests to finish. Container engines kill after 10s unless they "
        "are told otherwise.",
        8.0,
        example="25s",
    )
    load_test: Annotated[float, Duration(0, 600)] = describe_field(
        "How long the smoke test loads the server with requests, to measure latency, CPU time and memory against the "
        "rate; 0s leaves it out. `onnxpack manifests` takes its figures from there.",
        2.0,
        example="10s",
    )


def list_ports(server: str, port: int) -> tuple[int, ...]:
    """Return the ports that a server listens on: that of HTTP, then that of gRPC."""
    return {"none": (), "http": (port,), "http+grpc": (port, port + 1)}[server]


@dataclass(frozen=True)
class Image:
    """The image's name, base image, packages, labels and variables."""

    repository: ImageName | None = describe_field(
        "The image's name, with its registry if it has one. Default: the spec's name.",
        None,
        example="registry.example.com/risk/transactions",
    )
    base: ImageReference | None = describe_field(
        "The base image, which must have Python in the version below and the C++ runtime; name@sha256:… names always "
        "the same one. Default: an image that fits the device.",
        None,
        example="gcr.io/distroless/python3-debian12",
    )
    python: PythonVersion = describe_field("The Python version of the base image.", "3.11", example='"3.13"')
    requirements: tuple[Requirement, ...] = describe_field(
        "More Python packages for the image, by name and versions. They, and all that they require, stay whole, while "
        "those of the runtime lose what it never loads. The lock pins them: run `onnxpack lock` after a change.",
        (),
        example="[prometheus-client>=0.21]",
    )
    labels: Mapping[LabelKey, Text] = describe_field(
        "Labels to add to the image.", factory=dict, example="{team: risk}"
    )
    env: Mapping[VariableName, Line] = describe_field(
        "Environment variables to set in the image; those that decide which code runs (such as PYTHONHOME) are "
        "refused.",
        factory=dict,
        example='{LOG_LEVEL: "debug"}',
    )
