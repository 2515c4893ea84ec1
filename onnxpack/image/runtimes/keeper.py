"""The supervisor of a box: a process that ends all of it, also if the build is killed."""

import sys
from collections.abc import Sequence

from onnxpack.worker import supervise


def keep_command(
    command: Sequence[str], report: int = 0, cleaner: Sequence[str] = (), parent: int = 0
) -> tuple[str, ...]:
    """Return the command line that runs a command under a supervisor, and ends as the command does.

    ``report`` is the file descriptor that the number of the command's process is written to; 0 stands for none.
    ``cleaner`` runs if the build is killed. ``parent`` is the process that starts the line: if it is gone by then, the
    command does not run. 0 stands for any.
    """
    # By its path and without site: it needs the standard library alone, and starts in 30 ms.
    return (sys.executable, "-I", "-S", supervise.__file__, f"{report}:{parent}", *command, "--", *cleaner)
