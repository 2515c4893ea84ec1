"""Every check can fail: a server with one thing wrong fails those checks that are about it, and no others."""

from collections.abc import Callable

import pytest
from reference_server import Fault, reference
from server_faults import FAULTS, IDS


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_with_a_fault_fails_the_checks_that_are_about_it(name: str, failing: Callable[..., set[str]]) -> None:
    fault, expected = FAULTS[name]
    with reference(fault) as server:
        assert failing(server.url, "twice", seconds=fault.seconds) == expected


def test_every_check_fails_with_some_fault() -> None:
    found = set().union(*(expected for _, expected in FAULTS.values()))
    assert found == set(IDS)


def test_a_server_without_faults_passes_all_checks(failing: Callable[..., set[str]]) -> None:
    with reference(Fault()) as server:
        assert failing(server.url, "twice") == set()
