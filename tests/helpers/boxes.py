"""Containers that run nothing, for tests of what asks them."""

from dataclasses import dataclass, field

from onnxpack.image.archives import make_archive
from onnxpack.image.engine import Container


@dataclass(frozen=True)
class FakeContainer(Container):
    """A container whose command has ended with success; ``printed`` and ``files`` are what it left."""

    printed: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        return "nothing"

    def start(self) -> None: ...

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        return 0, "", ""

    def wait(self, seconds: float) -> int | None:
        return 0

    def running(self) -> bool:
        return False

    def output(self) -> tuple[str, str]:
        return self.printed, ""

    def fetch(self, folder: str) -> dict[str, bytes]:
        return self.files


def fake_compiler(name: str) -> FakeContainer:
    """Return a container in which a base's Python has compiled one module, of that name."""
    return FakeContainer(files={"compiled.tar": make_archive({name: b"x"}, {})})
