"""A server that is ready has gone the whole way of a request before, and nobody sees that in its figures."""

import asyncio
import re
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Load = Callable[..., ModuleType]


class Spy:
    """A model that notes in which threads it runs."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.threads: list[str] = []

    def run_checked(self, arrays: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        return self._model.run_checked(arrays)


@pytest.mark.parametrize("example", ["iris", "odd"])
def test_warm_up_asks_for_predictions_as_a_client_and_forgets_them(load: Load, example: str) -> None:
    spy = Spy(load(example).Model())
    warming, application = load(example, "warming"), load(example, "app")

    async def warm() -> Any:
        app = application.App(spy, 1)
        await warming.warm_up(app)
        return app

    app = asyncio.run(warm())
    assert len(spy.threads) == warming.TIMES
    assert spy.threads[0].startswith("infer"), "a thread was started"
    text = load(example, "prometheus").write_metrics(app.metrics.read()).decode()
    assert not re.search(r"^onnxpack_(requests|runs|rows|stage\S*)_total\S* [1-9]|_count [1-9]", text, re.MULTILINE)
    assert app.connections == set()
    assert app.workers.running == app.workers.waiting == 0


def test_ask_gives_what_a_client_would_get(load: Load) -> None:
    model, warming, application = load("iris").Model(), load("iris", "warming"), load("iris", "app")

    async def ask() -> Any:
        return await warming.ask(application.App(model, 1), b"GET /v2/health/ready HTTP/1.0\r\n\r\n")

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_example_too_large_to_be_looked_at_is_not_asked(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(load("iris").Model())
    warming, application = load("iris", "warming"), load("iris", "app")
    monkeypatch.setattr(warming, "find_example", lambda: None)

    async def warm() -> None:
        await warming.warm_up(application.App(spy, 1))

    asyncio.run(warm())
    assert spy.threads == []
