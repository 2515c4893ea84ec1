"""Dynamic batching: by its own class in threads of the test, and in a real server."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bundle_examples import BATCHING, save_transactions, write_modules
from numpy.typing import NDArray
from serving import request, serving, wait_until

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batching")
    save_transactions(folder / "model.onnx")
    write_modules(folder, BATCHING)
    return folder


class GatedModel:
    """A model that doubles the amounts, waits for a gate, and refuses any batch with a negative amount."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started = threading.Semaphore(0)
        self.rows: list[int] = []

    def __call__(self, arrays: Arrays) -> Arrays:
        self.rows.append(len(arrays["amounts"]))
        self.started.release()
        assert self.gate.wait(30)
        if arrays["amounts"].min() < 0:
            raise ValueError(f"negative: {arrays['amounts'].ravel().tolist()}")
        return {"score": arrays["amounts"] * 2}


class Bench:
    """A batcher around a gated model, asked from threads."""

    def __init__(self, module: ModuleType, pool: ThreadPoolExecutor) -> None:
        self.model = GatedModel()
        self.running = 0  # what the batcher is told of requests at work; 0 means that nobody comes
        self.observed: list[int] = []  # the rows of each run
        self._pool = pool
        self._batcher = module.Batcher(self.model, lambda: self.running, self._observe)

    def _observe(self, rows: int, seconds: float, waited: float) -> None:
        assert seconds >= 0
        assert waited >= 0
        self.observed.append(rows)

    def ask(self, *amounts: float, seq: int = 1) -> Future[Arrays]:
        """Ask with a row for each amount; return when the batcher has the request."""
        rows = len(amounts)
        arrays = {
            "dates": np.zeros((rows, seq, 6), np.float32),
            "input_ids": np.zeros((rows, seq, 20), np.int64),
            "amounts": np.repeat(np.array(amounts, np.float32), seq).reshape(rows, seq),
        }
        inside = self._batcher._inside
        future = self._pool.submit(self._batcher.run, arrays)
        wait_until(lambda: self._batcher._inside > inside or future.done())
        return future


@pytest.fixture
def bench(app: Path, load: Callable[..., ModuleType]) -> Iterator[Bench]:
    with ThreadPoolExecutor(20) as pool:
        bench = Bench(load(app, "batching"), pool)
        yield bench
        bench.model.gate.set()


def score(future: Future[Arrays]) -> list[float]:
    return future.result(30)["score"][:, 0].tolist()


def test_a_lone_request_runs_at_once(bench: Bench) -> None:
    bench.model.gate.set()
    assert score(bench.ask(1)) == [2]
    assert bench.observed == [1]


def test_what_arrives_during_a_run_is_the_next_batch(bench: Bench) -> None:
    first = bench.ask(1)
    bench.model.started.acquire()
    others = [bench.ask(2), bench.ask(3, 4), bench.ask(5)]
    bench.model.gate.set()
    assert [score(future) for future in (first, *others)] == [[2], [4], [6, 8], [10]]
    assert bench.model.rows == [1, 4]
    assert bench.observed == [1, 4]


def test_batches_have_at_most_the_given_rows_and_a_large_request_runs_alone(bench: Bench) -> None:
    first = bench.ask(1)
    bench.model.started.acquire()
    others = [bench.ask(*[index] * rows) for index, rows in enumerate((5, 3, 2, 9))]
    bench.model.gate.set()
    assert [score(future) for future in others] == [[0] * 5, [2] * 3, [4] * 2, [6] * 9]
    assert score(first) == [2]
    assert bench.model.rows == [1, 8, 2, 9]


def test_requests_of_other_shapes_wait_for_a_batch_of_their_own(bench: Bench) -> None:
    first = bench.ask(1)
    bench.model.started.acquire()
    others = [bench.ask(2, seq=3), bench.ask(3, seq=2), bench.ask(4, seq=3)]
    bench.model.gate.set()
    assert [score(future) for future in (first, *others)] == [[2], [4], [6], [8]]
    assert bench.model.rows == [1, 2, 1]


def test_a_bad_request_fails_alone(bench: Bench) -> None:
    first = bench.ask(1)
    bench.model.started.acquire()
    good, bad, also = bench.ask(2), bench.ask(-3), bench.ask(4)
    bench.model.gate.set()
    assert [score(future) for future in (first, good, also)] == [[2], [4], [8]]
    with pytest.raises(ValueError, match=r"negative: \[-3\.0\]"):
        bad.result(30)
    assert bench.model.rows[:2] == [1, 3]
    assert score(bench.ask(5)) == [10], "the next one runs as ever"


def test_a_request_waits_for_others_that_come_but_not_for_nobody(bench: Bench) -> None:
    sys.modules["batching"].MAX_DELAY = 60  # longer than any test waits
    bench.model.gate.set()
    bench.running = 2
    first = bench.ask(1)
    second = bench.ask(2)
    assert [score(first), score(second)] == [[2], [4]]
    assert bench.model.rows == [2], "the first one waited for the second, and then for nobody"


def test_a_server_answers_in_batches_what_it_answers_alone(app: Path) -> None:
    slow = """
import time
quick = serving.Model.run_checked
def run_slowly(self, arrays):
    time.sleep(0.02)
    return quick(self, arrays)
serving.Model.run_checked = run_slowly
"""
    documents = []
    for index in range(48):
        seq = 1 + index % 2
        document = request()
        sizes = {"dates": 6 * seq, "input_ids": 20 * seq, "amounts": seq}
        for item in document["inputs"]:
            item["shape"] = [1, seq, *item["shape"][2:]]
            item["data"] = [index % 7 + 1] * sizes[item["name"]]
        documents.append(document)
    with serving(app, slow) as server, ThreadPoolExecutor(16) as pool:
        alone = [server.infer(document) for document in documents]
        assert {status for status, _ in alone} == {200}
        runs = server.metric("onnxpack_runs_total")
        assert runs == server.metric("onnxpack_rows_total") == len(documents)
        bad = json.loads(json.dumps(documents[0]))
        bad["inputs"][0]["data"] = bad["inputs"][0]["data"][1:]
        together = list(pool.map(server.infer, [*documents, bad]))
        assert together[:-1] == alone
        assert together[-1][0] == 400
        assert server.metric("onnxpack_rows_total") == 2 * len(documents)
        assert server.metric("onnxpack_runs_total") - runs < len(documents) / 2
