"""Run all checks against a server, one after the other."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxpack.conformance import after, binary, compression, health, inference, mistakes, transport, triton
from onnxpack.conformance.checks import Check, FailedError, Level, NotOfferedError, Result, S, Verdict, collect
from onnxpack.conformance.server import Server, find_model
from onnxpack.conformance.tensors import Sample, read_sample
from onnxpack.conformance.wire import NoAnswerError, read_address
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.text import clean

CHECKS: tuple[Check[Server], ...] = collect(health, inference, mistakes, binary, transport, compression, triton, after)
"""All checks over HTTP, in their order."""
_REASON = 600  # characters of a reason


@dataclass(frozen=True)
class Request:
    """What is to be checked."""

    url: str
    model: str | None = None
    grpc: str | None = None
    sample: Path | None = None
    seconds: float = 10.0
    """For one exchange."""
    total: float = 300.0
    """For all."""


def check_server(request: Request, tell: Callable[[Result], None]) -> tuple[str, list[Result]]:
    """Check a server, and tell each result; return the model's name and all results.

    Raises:
        SpecError: the request cannot be meant, or the model must be named.
        EngineError: nothing answers.
    """
    sample = read_sample(request.sample) if request.sample else None
    server = _reach(request, sample)
    results = []
    for result in run_checks(CHECKS, server):
        tell(result)
        results.append(result)
    if request.grpc:
        from onnxpack.conformance import remote
        from onnxpack.conformance.target import Target, connect

        remote_checks: tuple[Check[Target], ...] = collect(remote)
        with connect(request.grpc, server) as target:
            for result in run_checks(remote_checks, target):
                tell(result)
                results.append(result)
    return server.model, results


def _reach(request: Request, sample: Sample | None) -> Server:
    """Return the server, which answered once, with the model's name."""
    try:
        address = read_address(request.url)
    except ValueError as error:
        raise SpecError(f"'{request.url}' is no URL of a server: {error}") from error
    deadline = time.monotonic() + request.total
    server = Server(address, request.model or "", request.seconds, deadline, sample)
    try:
        server.ask("GET", "/v2/health/live")
        name = request.model or find_model(server)
    except NoAnswerError as error:
        raise EngineError(
            f"nothing answers at {request.url}: {error}", "start the server, or correct the URL"
        ) from error
    if not name:
        raise SpecError(f"the server at {request.url} does not tell which model it has", "name it with --model NAME")
    server.model = name
    return server


def run_checks(checks: Sequence[Check[S]], target: S) -> Iterator[Result]:
    """Yield the result of each check."""
    for check in checks:
        yield run_check(check, target)


def run_check(check: Check[S], target: S) -> Result:
    """Return what comes of one check."""
    target.sent = target.got = ""
    verdict, said = Verdict.PASS, ""
    try:
        check.function(target)
    except NotOfferedError as error:
        verdict, said = Verdict.NOT_OFFERED, str(error)
    except (FailedError, NoAnswerError) as error:
        verdict, said = Verdict.FAIL, str(error)
    reason = said if verdict is Verdict.NOT_OFFERED else _explain(said, target.sent, target.got)
    return Result(check.id, check.title, check.level, check.section, verdict, clean(reason, _REASON))


def _explain(said: str, sent: str, got: str) -> str:
    """Return a reason: what was expected, if it failed, and what was got and sent."""
    parts = [said, f"got {got}" if got else "", f"sent {sent}" if sent else ""]
    return "; ".join(part for part in parts if part)


def is_conformant(results: Sequence[Result]) -> bool:
    """Return whether the server does all that the protocol requires."""
    return not any(result.verdict is Verdict.FAIL and result.level is Level.REQUIRED for result in results)
