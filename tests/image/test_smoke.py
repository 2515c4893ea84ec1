"""A first answer that is late is asked for again in fresh containers, as far as its gate needs it."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from boxes import FakeContainer

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError
from onnxpack.core.values import Reference
from onnxpack.image import smoke
from onnxpack.image.engine import Engine, Smoke, SmokeRequest
from onnxpack.parity.compare import Tolerance
from onnxpack.timing.queueing import predict_p99


def make_smoke(first: float) -> Smoke:
    return Smoke(1, 0.5, first, 0.01, 1000, runtime="nothing", later_answer_seconds=1.0)


class FakeEngine:
    """An engine whose containers are started with the case that is timed, and nothing else."""

    def container(self, image: str, files: dict[str, bytes], *, gpu: bool) -> nullcontext[FakeContainer]:
        assert files == {"opt.inputs.npz": b"data"}
        return nullcontext(FakeContainer())


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The first answers of containers to come; what is left of it was not started."""
    times = [4.0, 3.0, 2.0]

    def probe(box: Any, *arguments: str) -> Any:
        return {"first_answer_seconds": times.pop(0), "later_answer_seconds": 1.0, "peak_rss_bytes": 0}

    monkeypatch.setattr(smoke, "_probe", probe)
    return times


@pytest.mark.parametrize(
    ("gate", "first", "best", "left"),
    [(None, 9.0, 9.0, 3), (9.0, 9.0, 9.0, 3), (4.0, 9.0, 4.0, 2), (1.5, 9.0, 3.0, 1), (1.5, 2.5, 2.5, 1)],
)
def test_a_late_first_answer_is_the_best_of_at_most_three_starts(
    starts: list[float], tmp_path: Path, gate: float | None, first: float, best: float, left: int
) -> None:
    (tmp_path / "opt.inputs.npz").write_bytes(b"data")
    reference = Reference(Artifact(tmp_path, ""), ("opt",))
    asked = SmokeRequest("id", reference, Tolerance(0.0, 0.0), "opt", 8080, None, (), first_answer=gate)
    found = smoke.retry_first_answer(cast(Engine, FakeEngine()), asked, 8080, make_smoke(first))
    assert found == make_smoke(best)
    assert len(starts) == left


class StuckContainer(FakeContainer):
    """A container whose first process stays though its emulator met a fatal signal; nothing answers in it."""

    def running(self) -> bool:
        return True

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        return 1, "", "the server was not ready"


def test_a_server_that_does_not_answer_is_told_with_its_own_words() -> None:
    with pytest.raises(GateError, match="the container does not answer") as caught:
        smoke._probe(StuckContainer("qemu: uncaught target signal 11"), "server")
    assert caught.value.problems[0].detail == "qemu: uncaught target signal 11\n\nthe server was not ready"


class LoadedContainer(FakeContainer):
    """A container whose server was measured under load."""

    def __init__(self, requests: int, held_out: dict[str, Any] | None) -> None:
        times = dict.fromkeys(("p50_seconds", "p90_seconds", "p99_seconds", "slowest_seconds"), 0.011)
        point = {"clients": 1, "rate": 90.0, **times, "requests": requests, "errors": 0, "rss_bytes": 7}
        histogram = {"edges_seconds": [0.01, 0.012], "counts": [requests]}
        figures = {"cores": 2, "seconds": 2.0, "idle_rss_bytes": 5, "cpu_seconds": 0.01, "other_cpus": 0.1}
        self.facts = {**figures, "points": [point], "histogram": histogram, "held_out": held_out}
        self.asked: list[list[str]] = []

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        return 0, json.dumps(self.facts), ""


REFERENCE = Reference(Artifact(Path("absent"), ""), ("opt",))
ASKED = SmokeRequest("id", REFERENCE, Tolerance(0.0, 0.0), "opt", 8080, None, (), load_seconds=2.5)


def test_a_load_holds_what_was_predicted_beside_what_was_measured() -> None:
    times = {"p50_seconds": 0.011, "p90_seconds": 0.02, "slowest_seconds": 0.1}
    box = LoadedContainer(180, {"rate": 60.0, "p99_seconds": 0.05, "requests": 90, "errors": 0, **times})
    found = smoke._load_server(box, ASKED, 8080)
    assert found
    assert found.held_out
    assert (found.held_out.rate, found.held_out.measured_p99_seconds, found.held_out.requests) == (60.0, 0.05, 90)
    assert found.held_out.predicted_p99_seconds == predict_p99(found, 60.0) > 0.011
    ((_, _, code, *arguments),) = box.asked
    assert "from onnxpack.timing.load import main" in code
    assert arguments == ["8080", "/onnxpack-check/opt.inputs.npz", "2.5"]


def test_a_load_without_random_requests_or_without_answers_says_no_more_than_it_knows() -> None:
    found = smoke._load_server(LoadedContainer(3, None), replace(ASKED, port=1), 8080)
    assert found
    assert found.held_out is None
    assert smoke._load_server(LoadedContainer(0, None), ASKED, 8080) is None
