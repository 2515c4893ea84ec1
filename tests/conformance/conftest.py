from collections.abc import Callable, Sequence

import pytest

from onnxpack.conformance.checks import Result, Verdict
from onnxpack.conformance.suite import Request, check_server

Find = Callable[..., dict[str, Result]]


def by_id(results: Sequence[Result]) -> dict[str, Result]:
    assert len({result.id for result in results}) == len(results)
    return {result.id: result for result in results}


@pytest.fixture
def check() -> Find:
    """Check a server; return the results by their names."""

    def check(url: str, model: str | None = None, **settings: object) -> dict[str, Result]:
        return by_id(check_server(Request(url, model, **settings), lambda _: None)[1])  # type: ignore[arg-type]

    return check


@pytest.fixture
def failing(check: Find) -> Callable[..., set[str]]:
    """Check a server; return the names of the checks that fail."""

    def failing(url: str, model: str | None = None, **settings: object) -> set[str]:
        results = check(url, model, **settings)
        return {name for name, result in results.items() if result.verdict is Verdict.FAIL}

    return failing
