"""Serve a bundle without a container: its own modules and packages, under a Python of the image's version."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.bundle.render import APP_FOLDER, LIB_FOLDER, MODEL_TREE, RUNTIME_TREE
from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.interrupts import count_signals, uninterrupted
from onnxpack.image.local_container import read_process
from onnxpack.image.runtimes.keeper import keep_command
from onnxpack.inspection.bundle import read_dockerfile
from onnxpack.serve.server import HOST

_TAG = re.compile(r"\.cpython-3(\d{1,3})-(\w+)-linux-gnu\.so$")
"""The end of an extension module's name: the Python and the machine that it is for."""
_PATH = "/usr/local/bin:/usr/bin:/bin"
_PERIOD = 0.02


@dataclass(frozen=True)
class Bundle:
    """The server of a build context."""

    context: Path
    port: int
    """The port that its image exposes."""
    minor: int
    """The image's Python is 3.``minor``."""
    machine: str
    """The kind of processor that its packages are for, as ``x86_64``."""
    env: dict[str, str]
    """The image's variables."""

    @property
    def app(self) -> Path:
        """Return the folder of the model and its modules."""
        return MODEL_TREE.locate(self.context)

    @property
    def lib(self) -> Path:
        """Return the folder of the packages."""
        return RUNTIME_TREE.locate(self.context)


def read_bundle(folder: Path) -> Bundle:
    """Return what a build left in a folder: ``dist/NAME/TARGET``, or the context in it.

    Raises:
        SpecError: there is no server in it.
    """
    context = (folder if (folder / "Dockerfile").is_file() else folder / "context").absolute()
    where = Location(str(folder))
    if not (context / "Dockerfile").is_file():
        hint = "build it, at least with `onnxpack build SPEC --engine none`"
        raise SpecError(Problem("there is no build context in this folder", hint, where))
    facts = read_dockerfile(context / "Dockerfile")
    port = (facts["port"] or "").split(" ")[0]
    if not port.isdecimal() or not (MODEL_TREE.locate(context) / "server.py").is_file():
        hint = "`runtime.server` is `none`: run its command line on a file instead"
        raise SpecError(Problem("this model was built without a server", hint, where))
    names = sorted(RUNTIME_TREE.locate(context).rglob("*.so"))
    found = next((tag for path in names if (tag := _TAG.search(path.name))), None)
    if found is None:
        raise SpecError(Problem("no package of this bundle says which Python it is for", "build it again", where))
    return Bundle(context, int(port), int(found[1]), found[2], dict(facts["env"]))


def find_python(bundle: Bundle) -> Path | None:
    """Return an interpreter of this machine that can run a bundle; None if there is none."""
    if bundle.machine != platform.machine():
        return None
    if sys.version_info[:2] == (3, bundle.minor):
        return Path(sys.executable)
    found = shutil.which(f"python3.{bundle.minor}")
    return Path(found) if found and _is_python(found, bundle.minor) else None


def _is_python(program: str, minor: int) -> bool:
    """Return whether a program is what its name says; version managers leave some that only tell what to install."""
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    try:
        ended = subprocess.run([program, "-I", "-S", "-c", code], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


@dataclass
class BundleServer:
    """The server of a bundle, in a process of this machine."""

    bundle: Bundle
    python: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    """The supervisor, which ends the server if this process is killed."""
    _server: int = field(default=0, init=False)

    def start(self) -> None:
        """Start the server; what it says goes to stderr."""
        reading, writing = os.pipe()
        # Without site nothing but the bundle's own packages can be imported.
        line = (str(self.python), "-s", "-S", "-m", "server", "--host", HOST)
        with uninterrupted():
            self._process = subprocess.Popen(
                keep_command(line, writing),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env=make_environment(self.bundle, self.port),
                cwd="/",
                pass_fds=(writing,),
                start_new_session=True,  # ctrl-C is for this process, which lets the server finish
            )
        os.close(writing)
        self._server = read_process(reading)
        os.close(reading)

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Ask it to stop, and wait until it has answered what it accepted; a second ctrl-C ends it at once."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._server:
            os.kill(self._server, signal.SIGTERM)
        asked = count_signals()
        while self._process.poll() is None:
            if count_signals() > asked or not self._server:
                self._process.terminate()  # the supervisor ends all that there is
                self._process.wait()
            time.sleep(_PERIOD)


def make_environment(bundle: Bundle, port: int) -> dict[str, str]:
    """Return all variables of a bundle's server: the image's, with the bundle's folders, and nothing of this user's."""
    moved = {
        name: value.replace(APP_FOLDER, str(bundle.app)).replace(LIB_FOLDER, str(bundle.lib))
        for name, value in bundle.env.items()
    }
    return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent", **moved, "ONNXPACK_PORT": str(port)}
