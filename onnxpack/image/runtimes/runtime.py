"""What a runtime is asked: the command lines that run an unpacked image in a box, and a second command beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar, Protocol

from onnxpack.image.engine import VOLUME

OUT = "out"
"""The folder of the volume that can be written."""
EMULATOR = "/.onnxpack-qemu"
"""Where an image for another kind of processor has the program that runs it."""
_PROCESSORS = "/sys/devices/system/cpu"
SHARED_MEMORY = 64 * 2**20
"""The bytes of ``/dev/shm``, as container engines have it."""


class Report(Enum):
    """How a runtime tells the number of a box's first process, as this machine has it, once that one runs."""

    PROGRAM = "program"
    """It is the process that the command of ``start`` becomes."""
    DESCRIPTOR = "descriptor"
    """Written to the file descriptor that ``start`` is given, as ``{"child-pid": …}``."""
    FILE = "file"
    """Written to ``Box.pid_file``."""


@dataclass(frozen=True)
class Box:
    """An unpacked image, and how one container of it is run."""

    name: str
    """A name that no other container of this machine has."""
    root: Path
    """The folder with the image's files, in which all mount points exist."""
    volume: Path
    """The folder of this machine that is at ``VOLUME`` in the box; ``OUT`` lies in it."""
    state: Path
    """A folder for the runtime's own files."""
    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    """The working folder in the box."""
    user: int
    group: int
    ports: tuple[int, ...] = ()
    """The ports that the command listens on."""
    emulator: Path | None = None
    """The program that runs the image's programs here; None where the processor does."""

    @property
    def pid_file(self) -> Path:
        """Return the file that may be told the number of the first process."""
        return self.state / "pid"

    @property
    def hidden(self) -> tuple[str, ...]:
        """Return the folders of the system that the box sees empty.

        This machine's processors are not those that an emulator shows: onnxruntime ends with a segmentation fault where
        the two do not agree.
        """
        return (_PROCESSORS,) if self.emulator else ()

    @property
    def mounts(self) -> tuple[tuple[Path, str, bool], ...]:
        """Return what is put into the box: a path here, the path there, and whether it can be written."""
        emulator = ((self.emulator, EMULATOR, False),) if self.emulator else ()
        return ((self.volume, VOLUME, False), (self.volume / OUT, f"{VOLUME}/{OUT}", True), *emulator)


@dataclass(frozen=True)
class Launch:
    """A command line of this machine; ``env`` is all that it sees of variables."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path = Path("/")


class Runtime(Protocol):
    """A way to run an unpacked image; a module of this package has one, and says ``RUNTIME = Kind``."""

    name: ClassVar[str]
    """What people and ``ONNXPACK_RUNTIME`` call it."""
    rank: ClassVar[int]
    """Its place in the order in which runtimes are tried: what confines more comes first."""
    report: ClassVar[Report]

    def find_version(self) -> str | None:
        """Return its name and version, as ``runc 1.1.5``; None if it is not installed."""

    def prepare(self, box: Box) -> None:
        """Write what it needs before a box starts.

        Raises:
            EngineError: the box cannot be run this way now.
        """

    def start(self, box: Box, report: int) -> Launch:
        """Return the command that runs the box's own command, and ends as it does."""

    def has_started(self, process: int) -> bool:
        """Return whether a box's first process is in the box; before that no other command can join it."""

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        """Return the command that runs another one beside the box's first process, and ends as it does."""

    def clean(self, box: Box) -> tuple[str, ...]:
        """Return the command that removes what a box leaves outside of its folders; an empty one if it is nothing."""
