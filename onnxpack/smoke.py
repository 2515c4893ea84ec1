"""The last gate: the image runs as it will in production, offline, and must give the source model's answers."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getsource
from typing import Any

import numpy as np

from onnxpack import probe
from onnxpack.engines.container import VOLUME, Container, container
from onnxpack.engines.docker import DockerEngine
from onnxpack.errors import GateError
from onnxpack.noise import spreads_of
from onnxpack.samples import Arrays, read_arrays
from onnxpack.values import Reference
from onnxpack.verify import Comparison, Tolerance, compare_cases, read_case, require

_REPLAY_SECONDS = 300


@dataclass(frozen=True)
class Smoke:
    """What the container showed. Seconds count from the start of its command; without a GPU there are none."""

    comparisons: int
    ready_seconds: float | None
    first_answer_seconds: float | None
    latency_p50_seconds: float | None
    """The median of one request at a time, at the axes' opt sizes."""
    peak_rss_bytes: int | None
    on_gpu: bool | None = None
    """None for a CPU image."""


@dataclass(frozen=True)
class SmokeRequest:
    """What is tested of an image."""

    image: str
    """Its id."""
    reference: Reference
    tolerance: Tolerance
    timed: str
    """The case whose latency is measured."""
    port: int | None
    """None where the image has no server."""
    on_gpu: bool | None
    """Whether a GPU is here; None for a CPU image."""
    libraries: tuple[str, ...]
    """Those that the device's execution provider links, the driver's own excepted."""


def smoke_test(engine: DockerEngine, asked: SmokeRequest) -> Smoke:
    """Run the image and replay the Reference in it.

    Raises:
        GateError: it does not get ready, dies, answers wrongly, or would fall back from the GPU.
    """
    if asked.on_gpu is False:
        return _refusal(engine, asked)
    folder = asked.reference.folder
    files = {f"{case}.inputs.npz": (folder / f"{case}.inputs.npz").read_bytes() for case in asked.reference.cases}
    if asked.port is None:
        return _module(engine, asked, files)
    return _server(engine, asked, asked.port, files)


def has_gpu(engine: DockerEngine) -> bool:
    """Whether the engine knows the NVIDIA runtime."""
    with engine.guarded("describe itself"):
        facts = engine.client.info()
    return "nvidia" in facts.get("Runtimes", {})


def _server(engine: DockerEngine, asked: SmokeRequest, port: int, files: dict[str, bytes]) -> Smoke:
    """Ask the server one case over HTTP, and the image's command line all of them."""
    reference, tolerance = asked.reference, asked.tolerance
    case = reference.cases[0]
    with container(engine, asked.image, files, gpu=bool(asked.on_gpu)) as box:
        box.start()
        facts = _probe(box, "server", str(port), VOLUME, case, asked.timed)
        rows = _answered(reference, case, facts, tolerance)
        many = len(files) > 1
        output = f"{VOLUME}/out" if many else f"{VOLUME}/out/{next(iter(files))}"
        command = ["python3", "-m", "inference", "--input", *(f"{VOLUME}/{name}" for name in files), "--output", output]
        status, _, words = box.execute(command)
        if status:
            raise GateError(f"the image's command line fails: exit status {status}", "its words are below", words)
        rows += _replayed(reference, box, tolerance)
    require("the image's answers differ from the source model's", rows)
    return _smoke(rows, facts, asked.on_gpu)


def _module(engine: DockerEngine, asked: SmokeRequest, files: dict[str, bytes]) -> Smoke:
    """Let the generated module answer all cases in the container's own process: the image has no server."""
    command = ["-c", _probe_source(), "module", VOLUME, asked.timed, *asked.reference.cases]
    with container(engine, asked.image, files, entrypoint=["python3"], command=command, gpu=bool(asked.on_gpu)) as box:
        facts = _finished(box)
        rows = _replayed(asked.reference, box, asked.tolerance)
    require("the image's answers differ from the source model's", rows)
    return _smoke(rows, facts, asked.on_gpu)


def _refusal(engine: DockerEngine, asked: SmokeRequest) -> Smoke:
    """Test a CUDA image where no GPU is: its libraries resolve, and it refuses to serve from the CPU."""
    command = ["-c", _probe_source(), "refusal", *asked.libraries]
    with container(engine, asked.image, {}, entrypoint=["python3"], command=command) as box:
        facts = _finished(box)
    if facts["missing"]:
        raise GateError("libraries that the CUDA provider links are missing", "see below", "\n".join(facts["missing"]))
    if not facts["refused"]:
        raise GateError("the CUDA image loaded its model without a GPU", "it must refuse instead of falling back")
    return Smoke(0, None, None, None, None, on_gpu=False)


def _smoke(rows: list[Comparison], facts: Any, on_gpu: bool | None) -> Smoke:
    return Smoke(
        comparisons=len(rows),
        ready_seconds=facts["ready_seconds"],
        first_answer_seconds=facts["first_answer_seconds"],
        latency_p50_seconds=facts["latency_p50_seconds"],
        peak_rss_bytes=facts["peak_rss_bytes"],
        on_gpu=on_gpu,
    )


def _probe_source() -> str:
    return getsource(probe)  # imported, so that the key of a smoke test counts it


def _probe(box: Container, *arguments: str) -> Any:
    status, out, words = box.execute(["python3", "-c", _probe_source(), *arguments])
    if status:
        log = "\n".join(box.output()) if not box.running() else ""
        raise GateError(
            "the container does not answer" if box.running() else "the container ended before it answered",
            "its own words are below",
            f"{log}\n{words}".strip()[-3000:],
        )
    return json.loads(out)


def _finished(box: Container) -> Any:
    box.start()
    status = box.wait(_REPLAY_SECONDS)
    out, words = box.output()
    if status is None:
        raise GateError(f"the container did not end within {_REPLAY_SECONDS} s", "its words are below", words[-3000:])
    if status:
        raise GateError(f"the container failed: exit status {status}", "its words are below", words[-3000:])
    return json.loads(out)


def _replayed(reference: Reference, box: Container, tolerance: Tolerance) -> list[Comparison]:
    results = box.fetch("out")

    def answered() -> Iterator[tuple[str, Arrays, Arrays]]:
        for case in reference.cases:
            data = results.get(f"{case}.inputs.npz")
            yield case, read_case(reference.folder, case)[1], _unpacked(case, data) if data else {}

    return compare_cases(answered(), **vars(tolerance))


def _unpacked(case: str, data: bytes) -> Arrays:
    try:
        return read_arrays(io.BytesIO(data))
    except ValueError as error:
        hint = "what runs in the image may have written it: look at the steps' code"
        raise GateError(f"what the image left for the case '{case}' is no archive of arrays: {error}", hint) from None


def _answered(reference: Reference, case: str, facts: Any, tolerance: Tolerance) -> list[Comparison]:
    """The HTTP answer against the Reference."""
    if facts["status"] != 200:
        raise GateError(f"the server answers {facts['status']}", "its answer is below", json.dumps(facts["answer"]))
    _, expected = read_case(reference.folder, case)
    tensors = {tensor["name"]: tensor for tensor in facts["answer"]["outputs"]}
    actual = {
        name: np.array(tensors[name]["data"], dtype=str if right.dtype.kind == "U" else right.dtype).reshape(
            tensors[name]["shape"]
        )
        for name, right in expected.items()
        if name in tensors
    }
    spreads = spreads_of(reference.folder, reference.cases)
    return compare_cases([(case, expected, actual)], **vars(tolerance), spreads=spreads)
