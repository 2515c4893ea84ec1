"""The smoke test, the last gate: the image runs as in production, offline, and must give the source model's answers."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from inspect import getsource
from typing import Any

import msgspec
import numpy as np

from onnxpack.core.errors import GateError
from onnxpack.core.quiet import measuring
from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import Arrays, read_arrays
from onnxpack.image.engine import VOLUME, Container, Engine, Smoke, SmokeRequest, Soak, require_end
from onnxpack.parity.compare import Comparison, Tolerance, compare_cases, read_answers, require_parity
from onnxpack.parity.quantization_noise import compute_spreads
from onnxpack.timing import load, probe, soak
from onnxpack.timing.queueing import HeldOut, Load, predict_p99

_STARTS = 3
"""How often an image is started until its first answer keeps to its gate: one may be late for what else runs here."""
_FIRST = ("first_answer_seconds", "later_answer_seconds")
_REPLAY_SECONDS = 300
"""How long an image without a server may take for all cases, its start included."""


def smoke_test(engine: Engine, asked: SmokeRequest) -> Smoke:
    """Run the image and replay the Reference in it.

    Raises:
        GateError: it does not get ready, dies, answers wrongly, or would fall back from the GPU.
    """
    if asked.on_gpu is False:
        return _test_refusal(engine, asked)
    files = dict(_read_request(asked.reference, case) for case in asked.reference.asked)
    if asked.port is None:
        return _test_module(engine, asked, files)
    return _test_server(engine, asked, asked.port, files)


def _test_server(engine: Engine, asked: SmokeRequest, port: int, files: dict[str, bytes]) -> Smoke:
    """Ask the server one case over HTTP, and the image's command line all of them."""
    reference, tolerance = asked.reference, asked.tolerance
    case = reference.asked[0]
    with engine.container(asked.image, files | _list_modules(), gpu=bool(asked.on_gpu)) as box:
        with measuring():
            box.start()
            facts = _probe(box, "server", str(port), *_list_requests(asked, case, asked.timed))
        rows = _compare_answer(reference, case, facts, tolerance)
        # The command line writes one file for one input, and a folder for several.
        many = len(files) > 1
        output = f"{VOLUME}/out" if many else f"{VOLUME}/out/{next(iter(files))}"
        command = ["python3", "-m", "inference", "--input", *(f"{VOLUME}/{name}" for name in files), "--output", output]
        status, _, words = box.execute(command)
        if status:
            raise GateError(f"the image's command line fails: exit status {status}", "see its output below", words)
        rows += _compare_replay(reference, box, tolerance)
        # Answers that differ are told before a soak is worth its time.
        require_parity("the image's answers differ from the source model's", rows)
        memory = None
        if asked.soak_seconds:
            command = _make_command(soak.__name__, asked, port, asked.soak_seconds)
            memory = _check(box, command, "the image does not answer all of its declared sizes")
        with measuring():
            loaded = _load_server(box, asked, port) if asked.load_seconds else None
    smoke = replace(_smoke(asked, box, rows, facts, memory), load=loaded)
    return retry_first_answer(engine, asked, port, smoke)


def _load_server(box: Container, asked: SmokeRequest, port: int) -> Load | None:
    """Measure the server under load, and predict what it showed at the end; None where it answered nobody."""
    command = _make_command(load.__name__, asked, port, asked.load_seconds)
    facts = _check(box, command, "the image does not answer several clients at the same time")
    held_out = facts.pop("held_out")
    found = msgspec.convert(facts | {"held_out": None}, Load)
    if not found.points[0].requests:
        return None
    if held_out is None:
        return found
    rate, measured = held_out["rate"], held_out["p99_seconds"]
    return replace(found, held_out=HeldOut(rate, predict_p99(found, rate), measured, held_out["requests"]))


def retry_first_answer(engine: Engine, asked: SmokeRequest, port: int, smoke: Smoke) -> Smoke:
    """Start the image again while its first answer is later than its gate allows, and return the best."""
    files = dict([_read_request(asked.reference, asked.timed)])
    for _ in range(_STARTS - 1):
        if asked.first_answer is None or smoke.first_answer is None or smoke.first_answer <= asked.first_answer:
            break
        with engine.container(asked.image, files, gpu=bool(asked.on_gpu)) as box, measuring():
            box.start()
            facts = _probe(box, "server", str(port), *_list_requests(asked, asked.timed, asked.timed))
        again = replace(smoke, **{name: facts[name] for name in _FIRST})
        smoke = min(smoke, again, key=lambda one: one.first_answer or 0.0)
    return smoke


def _test_module(engine: Engine, asked: SmokeRequest, files: dict[str, bytes]) -> Smoke:
    """Let the generated module answer all cases in the container's own process: the image has no server."""
    requests = _list_requests(asked, asked.timed, *asked.reference.asked)
    command = ["-c", _probe_source(), "module", f"{VOLUME}/out", *requests]
    with engine.container(asked.image, files, entrypoint=["python3"], command=command, gpu=bool(asked.on_gpu)) as box:
        with measuring():
            facts = json.loads(require_end(box, _REPLAY_SECONDS))
        rows = _compare_replay(asked.reference, box, asked.tolerance)
    require_parity("the image's answers differ from the source model's", rows)
    memory = _soak_module(engine, asked, files) if asked.soak_seconds else None
    return _smoke(asked, box, rows, facts, memory)


def _soak_module(engine: Engine, asked: SmokeRequest, files: dict[str, bytes]) -> Any:
    """Soak the generated module in a process of its own: what replayed all cases has memory of that."""
    python, *command = _make_command(soak.__name__, asked, 0, asked.soak_seconds)
    files, gpu = files | _list_modules(), bool(asked.on_gpu)
    with engine.container(asked.image, files, entrypoint=[python], command=command, gpu=gpu) as box:
        return json.loads(require_end(box, _REPLAY_SECONDS))


def _test_refusal(engine: Engine, asked: SmokeRequest) -> Smoke:
    """Test a CUDA image where no GPU is: its libraries resolve, and it refuses to serve from the CPU."""
    command = ["-c", _probe_source(), "refusal", *asked.libraries]
    with engine.container(asked.image, {}, entrypoint=["python3"], command=command) as box:
        facts = json.loads(require_end(box, _REPLAY_SECONDS))
    if facts["missing"]:
        raise GateError(
            "the image lacks libraries that onnxruntime's CUDA provider links",
            "see their names below",
            "\n".join(facts["missing"]),
        )
    if not facts["refused"]:
        raise GateError(
            "the CUDA image loaded its model without a GPU", "it must refuse to serve from the CPU: please report this"
        )
    return Smoke(0, None, None, None, None, runtime=box.runtime, on_gpu=False)


def _smoke(asked: SmokeRequest, box: Container, rows: list[Comparison], facts: Any, memory: Any) -> Smoke:
    return Smoke(
        comparisons=len(rows),
        ready_seconds=facts["ready_seconds"],
        first_answer_seconds=facts["first_answer_seconds"],
        latency_p50_seconds=facts["latency_p50_seconds"],
        peak_rss_bytes=facts["peak_rss_bytes"],
        runtime=box.runtime,
        on_gpu=asked.on_gpu,
        emulated=asked.emulated,
        soak=Soak(**memory) if memory else None,
        later_answer_seconds=facts["later_answer_seconds"],
    )


def _probe_source() -> str:
    return getsource(probe)  # imported, so that the key of a smoke test counts it


def _list_modules() -> dict[str, bytes]:
    """Return the modules that run from the volume; the image itself has nothing of this package."""
    return {f"{module.__name__.replace('.', '/')}.py": getsource(module).encode() for module in (probe, soak, load)}


def _make_command(module: str, asked: SmokeRequest, port: int, seconds: float) -> list[str]:
    """Return the command that runs a module from the volume; port 0 is for an image without a server."""
    code = f"import sys, json; sys.path.insert(0, {VOLUME!r}); from {module} import main"
    code += "; print(json.dumps(main(sys.argv[1:])))"
    return ["python3", "-c", code, str(port), *_list_requests(asked, asked.timed), str(seconds)]


def _read_request(reference: Reference, case: str) -> tuple[str, bytes]:
    """Return the name and the bytes of the file with what an image is sent in a case."""
    name = reference.name_request(case)
    return name, (reference.folder / name).read_bytes()


def _list_requests(asked: SmokeRequest, *cases: str) -> list[str]:
    """Return where the files of cases are in the container."""
    return [f"{VOLUME}/{asked.reference.name_request(case)}" for case in cases]


def _probe(box: Container, *arguments: str) -> Any:
    return _check(box, ["python3", "-c", _probe_source(), *arguments], "the container does not answer")


def _check(box: Container, command: list[str], failure: str) -> Any:
    status, out, words = box.execute(command)
    if status:
        # A first process whose emulator has met a fatal signal may stay, and says it.
        log = "\n".join(box.output())
        raise GateError(
            failure if box.running() else "the container ended before it answered",
            "see its output below",
            f"{log}\n{words}".strip()[-3000:],
        )
    return json.loads(out)


def _compare_replay(reference: Reference, box: Container, tolerance: Tolerance) -> list[Comparison]:
    results = box.fetch("out")

    def read_cases() -> Iterator[tuple[str, Arrays, Arrays]]:
        for case in reference.asked:
            expected, data = read_answers(reference.folder, case), results.get(reference.name_request(case))
            yield case, expected, _unpack_answer(case, data, expected) if data else {}

    return compare_cases(read_cases(), replace(tolerance, units=reference.units))


def _unpack_answer(case: str, data: bytes, expected: Arrays) -> Arrays:
    """Return what the image's command line wrote: an archive, or JSON, which says nothing of dtypes."""
    try:
        if not data.startswith(b"{"):
            return read_arrays(io.BytesIO(data))
        found = json.loads(data)
        return {name: np.array(found[name], _choose_dtype(right)) for name, right in expected.items() if name in found}
    except (ValueError, TypeError, OverflowError) as error:
        hint = "what runs in the image may have written it: look at the steps' code"
        raise GateError(f"what the image left for the case '{case}' is no archive of arrays: {error}", hint) from None


def _choose_dtype(array: np.ndarray[Any, Any]) -> Any:
    return str if array.dtype.kind == "U" else array.dtype


def _compare_answer(reference: Reference, case: str, facts: Any, tolerance: Tolerance) -> list[Comparison]:
    """Compare the server's HTTP answer with the Reference."""
    if facts["status"] != 200:
        raise GateError(f"the server answers {facts['status']}", "see its answer below", json.dumps(facts["answer"]))
    expected = read_answers(reference.folder, case)
    tensors = {tensor["name"]: tensor for tensor in facts["answer"]["outputs"]}
    actual = {
        name: np.array(tensors[name]["data"], _choose_dtype(right)).reshape(tensors[name]["shape"])
        for name, right in expected.items()
        if name in tensors
    }
    spreads = compute_spreads(reference.folder, reference.cases)
    return compare_cases([(case, expected, actual)], replace(tolerance, units=reference.units), spreads)
