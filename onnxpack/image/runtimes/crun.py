"""Run a box by crun, the program that podman uses; its command line is runc's."""

from typing import ClassVar

from onnxpack.image.runtimes.runc import Runc


class Crun(Runc):
    """The runtime of machines with podman."""

    name: ClassVar[str] = "crun"
    rank: ClassVar[int] = 2


RUNTIME = Crun
