"""Compile modules in a container of the base image: its Python is the one that will load them."""

import io
import tarfile
from inspect import getsource

from onnxpack.bundle import compiler
from onnxpack.bundle.bytecode import Bytecode, CompileRequest
from onnxpack.core.errors import GateError
from onnxpack.image.archives import make_archive
from onnxpack.image.engine import VOLUME, Engine, require_end

_SECONDS = 300
"""How long it may take; it takes 2."""
_SOURCES, _RESULT = "sources.tar", "compiled.tar"


def compile_modules(engine: Engine, asked: CompileRequest) -> Bytecode:
    """Have the base image's Python compile sources, as confined as the image in its smoke test.

    Raises:
        GateError: the base has no Python, or it fails.
    """
    files = {_SOURCES: make_archive(dict(asked.sources), {})}
    # -B: what it imports itself is not to be found compiled.
    command = ["-I", "-B", "-c", getsource(compiler), f"{VOLUME}/{_SOURCES}", f"{VOLUME}/out/{_RESULT}", asked.folder]
    with engine.container(asked.base, files, entrypoint=["python3"], command=[*command, *asked.roots]) as box:
        require_end(box, _SECONDS)
        result = box.fetch("out").get(_RESULT, b"")
    return Bytecode(read_result(result))


def read_result(data: bytes) -> dict[str, bytes]:
    """Return the files of the archive that the compiler left, by name.

    Raises:
        GateError: it is none, or holds something else than files.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [member for member in archive if not member.isdir()]
            streams = {member.name: archive.extractfile(member) for member in members if member.isreg()}
            found = {name: stream.read() for name, stream in streams.items() if stream}
    except tarfile.TarError as error:
        raise _make_error(str(error)) from None
    if len(found) < len(members):
        raise _make_error("it holds something else than files")
    return found


def _make_error(why: str) -> GateError:
    text = f"the base image's Python left no archive of compiled modules: {why}"
    return GateError(text, "set `image.base` to an image with the python3 that `image.python` names")
