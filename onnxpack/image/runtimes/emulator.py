"""Run images for another kind of processor by qemu's user mode, which is one static program for each kind."""

import platform
import shutil
from pathlib import Path

from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_machine
from onnxpack.oci.manifests import Platform


def find_emulator(wanted: Platform) -> Path | None:
    """Return the program that runs an image of that platform here; None where none is needed.

    Raises:
        EngineError: one is needed, and it is not installed.
    """
    machine = find_machine(str(wanted))
    if machine == platform.machine():
        return None
    name = f"qemu-{machine}-static"
    found = shutil.which(name)
    if found is None:
        raise EngineError(
            f"an image for {wanted} cannot be run on this machine, which is {platform.machine()}, without {name}",
            "install it, on Debian and Ubuntu with `apt-get install qemu-user-static`",
        )
    return Path(found)
