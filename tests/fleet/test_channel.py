"""Messages over a pipe arrive whole and in order, however they are cut and however many threads send."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpack.fleet.channel import Receiver, Sender, receive_job
from onnxpack.fleet.events import AnyEvent, Finished, Noted, Started, Warned
from onnxpack.fleet.job import Job, Needs, Options, Outcome


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:  # the test closed it
            continue


def receive_all(receiver: Receiver) -> list[AnyEvent]:
    found: list[AnyEvent] = []
    while (events := receiver.receive()) is not None:
        found += events
    return found


def test_events_of_several_threads_arrive_whole(ends: tuple[int, int]) -> None:
    reading, writing = ends
    sender, receiver = Sender(writing), Receiver(reading)

    def send(job: int) -> None:
        for number in range(50):
            sender.send(Noted(job, f"{number} " + "x" * 3000))

    threads = [threading.Thread(target=send, args=(job,)) for job in range(4)]
    collector: list[AnyEvent] = []
    reader = threading.Thread(target=lambda: collector.extend(receive_all(receiver)))
    reader.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(writing)
    reader.join()
    for job in range(4):
        told = [event.text.split()[0] for event in collector if isinstance(event, Noted) and event.job == job]
        assert told == [str(number) for number in range(50)]


def test_job_and_outcome_arrive_as_they_were(ends: tuple[int, int], tmp_path: Path) -> None:
    reading, writing = ends
    options = Options(tmp_path, "oci", settings=("a=1",), base=tmp_path / "b.tar")
    job = Job(3, Path("a.yaml"), tmp_path, "a", "cpu", options, Needs(5, 1.5, gpu=True, isa="avx2"))
    Sender(writing).send(job)
    os.close(writing)
    with os.fdopen(reading, "rb", closefd=False) as stream:
        assert receive_job(stream) == job
        assert receive_job(stream) is None


def test_events_arrive_as_they_were(ends: tuple[int, int]) -> None:
    reading, writing = ends
    sent = [Started(1, "w"), Warned(1, "slow"), Finished(1, Outcome(1, "built", {"a": [1, {"b": float("inf")}]}))]
    for event in sent:
        Sender(writing).send(event)
    assert Receiver(reading).receive() == sent


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\1\1", b"\0\0\0\2\x81\x01"])
def test_garbage_is_told(ends: tuple[int, int], data: bytes) -> None:
    reading, writing = ends
    os.write(writing, data)
    with pytest.raises(ValueError, match=r".*"):
        Receiver(reading).receive()
