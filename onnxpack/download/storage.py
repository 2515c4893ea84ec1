"""The reader of all other URLs (s3, gs, hf and more) by fsspec, each with its own configuration."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from onnxpack.core.errors import EngineError, OnnxpackError, SourceError, SpecError
from onnxpack.core.redact import redact
from onnxpack.download.transfer import CHUNK, Answer, Transient
from onnxpack.spec.origin import format_source

_INSTALL = "pip install 'onnxpack[remote]'"
_LOGIN = "put its credentials into the environment or the storage's own configuration"


def open_storage(url: str, start: int) -> Answer:
    """Open a file at byte ``start``, or at its beginning if it is shorter.

    Raises:
        Transient: trying again may help.
        OnnxpackError: trying again cannot help.
    """
    try:
        stream, total = _open(url)
        begin = start if start <= total else 0
        stream.seek(begin)
    except (OnnxpackError, Transient):
        raise
    except Exception as error:  # each storage has kinds of its own
        raise _classify(url, error) from None
    return Answer(begin, total, _iterate_chunks(url, stream), stream.close)


def _open(url: str) -> tuple[BinaryIO, int]:
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ModuleNotFoundError:
        raise SourceError(f"'fsspec' is not installed, and '{format_source(url)}' needs it", _INSTALL) from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise SourceError(f"'{format_source(url)}' needs a package that is not installed: {error}", _INSTALL) from None
    except ValueError as error:
        if "Protocol not known" in str(error):
            raise SpecError(f"nothing reads '{format_source(url)}': {error}", "use https, s3, gs, hf or file") from None
        raise
    if isinstance(system, LocalFileSystem):  # under another name than file:, which reads only what it may
        raise SpecError(f"'{format_source(url)}' is a file of this machine", "use its URL file:///folder/name")
    return system.open(path, "rb"), int(system.size(path))


def _iterate_chunks(url: str, stream: Any) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except Transient:
        raise
    except Exception as error:  # each storage has kinds of its own
        raise _classify(url, error) from None


def _classify(url: str, error: Exception) -> Exception:
    kind = type(error).__name__
    words = redact(" ".join(str(error).split()))[:300]
    if isinstance(error, FileNotFoundError) or "NotFound" in kind:
        return EngineError(f"'{format_source(url)}' is not there", "correct the URL, or put the file there")
    if isinstance(error, PermissionError) or "Credential" in kind or "Auth" in kind:
        return EngineError(f"access to '{format_source(url)}' is refused: {words}", _LOGIN)
    if isinstance(error, ConnectionError | TimeoutError) or "Connect" in kind or "Timeout" in kind:
        return Transient(f"the storage cannot be reached: {words}")
    return EngineError(
        f"cannot fetch '{format_source(url)}': {kind}: {words}", "check the URL and the storage's configuration"
    )
