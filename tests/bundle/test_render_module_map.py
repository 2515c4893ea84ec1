"""``map`` of a generated module: order, laziness, bounds, errors at their place, and no thread left behind."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Load = Callable[..., ModuleType]


def make_rows(limit: int | None = None, taken: list[int] | None = None) -> Iterator[np.ndarray]:
    """Requests for iris, whose first value is their number."""
    for number in count() if limit is None else range(limit):
        if taken is not None:
            taken.append(number)
        yield np.array([[number, 0, 0, 0]], np.float32)


@pytest.fixture
def model(load: Load, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of iris that answers each request with its number."""
    module = load("iris")
    monkeypatch.setattr(module.Model, "predict", lambda self, row: int(row[0, 0]))
    return module.Model(threads=2)


def test_map_predicts_what_predict_does(load: Load) -> None:
    model = load("transactions").Model(threads=1)
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 6), np.float32), ((2, 3, 20), np.int64), ((2, 3), np.float32)
    requests = [tuple(rng.integers(0, 9, shape).astype(dtype) for shape, dtype in shapes) for _ in range(9)]
    found = [prediction.score.tolist() for prediction in model.map(requests, threads=3)]
    assert found == [model.predict(*request).score.tolist() for request in requests]


def test_results_come_in_order_whatever_takes_longest(load: Load, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    later = [threading.Event() for _ in range(4)]

    def predict(_: object, row: np.ndarray) -> int:
        number = int(row[0, 0])
        if number < 3:
            assert later[number + 1].wait(30), "each waits for the one behind it, so that they end in reverse"
        later[number].set()
        return number

    monkeypatch.setattr(load("iris").Model, "predict", predict)
    assert list(model.map(make_rows(4), threads=4)) == [0, 1, 2, 3]


def test_a_source_without_an_end_is_read_two_requests_ahead_for_each_thread(model: Any) -> None:
    taken: list[int] = []
    results = model.map(make_rows(taken=taken), threads=3)
    assert not taken, "nothing is read before a result is asked for"
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) == 15, "the tenth, and six that were read ahead of it less the one that came"
    results.close()


@pytest.mark.parametrize(("own", "threads"), [(1, 8), (3, 2), (8, 2), (16, 2)])
def test_the_default_uses_each_cpu_and_two_threads(
    load: Load, monkeypatch: pytest.MonkeyPatch, own: int, threads: int
) -> None:
    module, taken = load("iris"), list[int]()
    monkeypatch.setattr(module, "cpu_count", lambda: 8)
    results = module.Model(threads=own).map(make_rows(taken=taken))
    next(results)
    results.close()
    assert len(taken) == 2 * threads


def test_an_error_of_a_prediction_comes_at_its_place(load: Load, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    def predict(_: object, row: np.ndarray) -> int:
        if row[0, 0] == 3:
            raise ValueError("the fourth")
        return int(row[0, 0])

    monkeypatch.setattr(load("iris").Model, "predict", predict)
    results = model.map(make_rows(), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_source_comes_behind_the_results_before_it(model: Any) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from make_rows(3)
        raise OSError("the disk is gone")

    results = model.map(broken(), threads=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_an_interrupt_in_the_source_is_not_held_back(model: Any) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield from make_rows(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(model.map(interrupted(), threads=4))


def test_wrong_arrays_and_wrong_threads_are_refused(load: Load, model: Any) -> None:
    real = load("transactions").Model(threads=1)
    with pytest.raises(TypeError):
        list(real.map([None]))
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads must be 1 or more, got {threads}"):
            list(model.map([], threads=threads))
    assert list(model.map([])) == []


def test_no_thread_and_no_work_outlives_a_map_that_is_left(
    load: Load, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    started: list[int] = []
    go = threading.Event()

    class Pool(ThreadPoolExecutor):
        """Lets what runs go on once what waits is cancelled."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            go.set()
            super().shutdown(wait=wait)

    def predict(_: object, row: np.ndarray) -> int:
        started.append(int(row[0, 0]))
        assert row[0, 0] == 0 or go.wait(30)
        return int(row[0, 0])

    monkeypatch.setattr(load("iris").Model, "predict", predict)
    monkeypatch.setattr(load("iris"), "ThreadPoolExecutor", Pool)
    before = threading.active_count()
    results = model.map(make_rows(), threads=2)
    assert next(results) == 0
    results.close()
    assert len(started) <= 3, "what waited was cancelled, and what ran has ended"
    assert threading.active_count() == before


def test_several_maps_and_predictions_share_one_model(load: Load) -> None:
    model = load("iris").Model(threads=1)
    rows = [np.eye(4, dtype=np.float32)[[i % 3]] * 9 for i in range(60)]
    wrong: list[object] = []

    def use() -> None:
        found = [int(prediction.label[0]) for prediction in model.map(rows, threads=2)]
        if found != [i % 3 for i in range(60)]:
            wrong.append(found)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
