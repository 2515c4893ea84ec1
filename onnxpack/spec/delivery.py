"""The second half of what a spec is: the images, what they must keep to, and how they serve."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from onnxpack.spec.choices import DeviceName, Precision
from onnxpack.spec.constraints import Between, Duration, Later, Size
from onnxpack.spec.field_types import (
    ImageName,
    ImageReference,
    LabelKey,
    Line,
    Positive,
    Ratio,
    TensorName,
    Text,
    VariableName,
    described,
)

Isa = Literal["avx2", "avx512", "avx-vnni", "avx512-vnni", "amx", "neon", "neon-dotprod", "neon-i8mm"]


@dataclass(frozen=True)
class Gates:
    """Limits; a build that breaks one fails. A target's own ones replace the common ones, field by field."""

    max_degradation: Ratio | None = described(
        "Of the evaluation metric, against the source model.", None, example="0.01", need="score"
    )
    min_score: Annotated[float, Between(-1e9, 1e9)] | None = described(
        "The least value of the evaluation metric for the model that ships, in every precision; not for mse and mae, "
        "where less is better.",
        None,
        example="0.95",
        need="score",
    )
    min_speedup: Annotated[float, Between(0, 1000)] | None = described(
        "Of a reduced precision against float32, measured.", None, example="1.0", need="speed"
    )
    image_size: Annotated[int, Size(1, 2**50)] | None = described(
        "Of the uncompressed image.", None, example="150MB", need="image"
    )
    cold_start: Annotated[float, Duration(0, 3600)] | None = described(
        "From the container's start until it is ready.", None, example="2s", need="container"
    )
    latency_p50: Annotated[float, Duration(0, 3600)] | None = described(
        "Of one request at the axes' opt sizes.", None, example="5ms", need="container"
    )
    peak_memory: Annotated[int, Size(1, 2**50)] | None = described(
        "Of the serving process.", None, example="400MB", need="container"
    )


@dataclass(frozen=True)
class Target:
    """One image: where it is to run."""

    device: DeviceName = described("The hardware that serves.", "cpu", example="cuda")
    precision: Precision = described("The arithmetic of the shipped model.", "float32", example="float32")
    optimize: Literal["none", "basic", "extended", "all"] = described(
        "Offline graph optimisation.", "none", example="none"
    )
    objective: Literal["latency", "size", "throughput"] | None = described(
        "precision auto: what the best model is best at; left out: latency.", None, example="size"
    )
    platform: Annotated[Literal["linux/amd64", "linux/arm64"], Later("linux/arm64")] = described(
        "Of the machines that serve.", "linux/amd64", example="linux/amd64"
    )
    isa: Isa | None = described(
        "The best instruction set for 8 bits that all machines which serve have; left out: any of the platform's. "
        "`avx2` and `avx512` are without VNNI.",
        None,
        example="avx512-vnni",
    )
    threads: Positive | None = described("Overrides runtime.threads.", None, example="2")
    exclude_nodes: tuple[TensorName, ...] = described(
        "Nodes, or all nodes of an operator type, left in float32.", (), example="[node_conv2d]"
    )
    per_channel: bool | None = described(
        "A scale for each channel of the weights; left out: where the runtime can.", None, example="true"
    )
    gates: Gates | None = described(
        "Limits of this image alone; each replaces the common one of its name.", None, example="{latency_p50: 5ms}"
    )


@dataclass(frozen=True)
class Batching:
    """How the server joins requests."""

    max_batch_size: Positive = described("Rows in one run of the model.", example="32")
    max_queue_delay: Annotated[float, Duration(0, 60)] = described(
        "How long a request waits for others.", 0.0, example="2ms"
    )


@dataclass(frozen=True)
class Runtime:
    """How the image serves."""

    server: Annotated[Literal["none", "http", "http+grpc"], Later("http+grpc")] = described(
        "The server in the image; none leaves a command line.", "http", example="none"
    )
    port: Annotated[int, Between(1, 65535)] = described("The HTTP port.", 8080, example="8000")
    threads: Positive | Literal["auto"] = described("auto reads the container's CPU quota.", "auto", example="4")
    max_body: Annotated[int, Size(1024, 2**40)] = described("The largest request body.", 64 * 2**20, example="64MiB")
    warmup: bool = described("Run once before the image says that it is ready.", True, example="false")
    batching: Batching | None = described(
        "Dynamic batching.", None, example="{max_batch_size: 32, max_queue_delay: 2ms}", later=True
    )
    max_queue: Positive | None = described("Requests that may wait.", None, example="256", later=True)


@dataclass(frozen=True)
class Image:
    """The image's name, base and texts."""

    repository: ImageName | None = described(
        "Registry and name; left out: the spec's name.", None, example="registry.example.com/risk/transactions"
    )
    base: ImageReference | None = described(
        "Any image with the right Python and the C++ runtime; name@sha256:… is always the same one; left out: by "
        "device.",
        None,
        example="gcr.io/distroless/python3-debian12",
    )
    python: Literal["3.11", "3.12", "3.13", "3.14"] = described("The base image's Python.", "3.11", example='"3.13"')
    labels: Mapping[LabelKey, Text] = described("Labels added to the image.", factory=dict, example="{team: risk}")
    env: Mapping[VariableName, Line] = described(
        "Environment variables of the image; none that decides which code runs.",
        factory=dict,
        example='{LOG_LEVEL: "debug"}',
    )
