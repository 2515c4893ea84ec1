"""Look into a base image before anything is built on it: its Python, and the libraries that packages need."""

from inspect import getsource

import msgspec

from onnxpack.core.errors import EngineError, GateError, SpecError
from onnxpack.image import base_probe
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Engine, Image, require_end

_SECONDS = 120
"""How long it may take; it takes 0.1, and under emulation some seconds."""
_FOREIGN = "exec format error"
"""How Linux says that a program is for another kind of machine."""


def inspect_base(engine: Engine, base: Image) -> BaseSystem:
    """Ask the base image's own Python, as confined as the image in its smoke test.

    Raises:
        SpecError: it has none that can be run.
        EngineError: it is for another kind of machine, which nothing here runs; or the engine did not do its part.
    """
    command = ["-I", "-c", getsource(base_probe)]
    try:
        with engine.container(base.id, {}, entrypoint=["python3"], command=command) as box:
            said = require_end(box, _SECONDS)
    except GateError as error:
        problem = error.problems[0]
        if _FOREIGN in f"{problem.message} {problem.detail}".lower():
            raise _make_foreign(base.platform) from None
        text = f"the base image has no python3 that can be run: {problem.message}"
        raise SpecError(text, "set `image.base` to an image with Python", problem.detail) from None
    return read_system(said)


def read_system(said: str) -> BaseSystem:
    """Return what the base's Python said of itself.

    Raises:
        SpecError: it said something else.
    """
    try:
        return msgspec.json.decode(said, type=BaseSystem)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        text = "what the base image calls python3 is no Python: it does not say what it is"
        raise SpecError(text, "set `image.base` to an image with Python", said[-1000:]) from None


def _make_foreign(platform: str) -> EngineError:
    text = f"the base image is for {platform}, and nothing here runs programs of that machine"
    hint = (
        "install qemu-user-static, and add `--engine oci`, or register it with binfmt_misc where the Docker engine runs"
    )
    return EngineError(text, hint)
