"""The engine that answers may run on another machine, of another kind, than this one."""

from typing import Any

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.image.docker import DockerEngine


class Client:
    """What an engine says of itself; it counts how often it is asked."""

    def __init__(self, facts: Any) -> None:
        self.facts, self.asked = facts, 0

    def version(self) -> Any:
        self.asked += 1
        return self.facts


def connect(facts: Any) -> tuple[DockerEngine, Client]:
    engine, client = DockerEngine(), Client(facts)
    engine.__dict__["client"] = client
    return engine, client


@pytest.mark.parametrize(
    ("facts", "version"),
    [
        ({"Version": "20.10.24", "Os": "linux", "Arch": "arm64"}, "docker 20.10.24"),
        (
            {
                "Version": "4.9.4", "Os": "linux", "Arch": "arm64",
                "Components": [{"Name": "Podman Engine", "Version": "4.9.4"}],
            },
            "podman 4.9.4",
        ),
    ],
)  # fmt: skip
def test_an_engine_is_asked_once_what_it_is_and_runs(facts: dict[str, Any], version: str) -> None:
    engine, client = connect(facts)
    assert (engine.find_platform(), engine.version, engine.find_platform()) == ("linux/arm64", version, "linux/arm64")
    assert client.asked == 1


@pytest.mark.parametrize("facts", [{}, {"Os": "linux"}, None, "linux/amd64"])
def test_what_does_not_say_it_is_no_engine(facts: Any) -> None:
    engine, _ = connect(facts)
    with pytest.raises(EngineError, match="is not a container engine: it could not tell its platform"):
        engine.find_platform()
