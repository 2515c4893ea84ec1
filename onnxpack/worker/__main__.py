"""The child's side: run the task that the scratch folder asks for, and leave the answer there."""

import contextlib
import errno
import importlib
import os
import sys
import traceback
from pathlib import Path

from onnxpack.errors import EngineError, OnnxpackError, bound_text
from onnxpack.worker.call import ANSWER, NO_ROOM, REQUEST, Answer, Message
from onnxpack.worker.changes import find_sources
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.from_source import compile_from_source
from onnxpack.worker.process import SAID
from onnxpack.worker.supervise import supervise
from onnxpack.worker.task import Say
from onnxpack.worker.trace import Recorder, imported_packages

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FRAMES = 6
_LONGEST = 20_000  # characters of an exception, with its stack


def main() -> None:
    """Answer, and end at once: frameworks' threads and destructors may hang or crash."""
    supervise()
    scratch = Path(sys.argv[1])
    message = decode((scratch / REQUEST).read_bytes(), Message)
    try:
        answer = encode(_answer(message, scratch))
        partial = scratch / f"{ANSWER}.part"
        partial.write_bytes(answer)
        partial.rename(scratch / ANSWER)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        os._exit(NO_ROOM)  # there is no room for an answer either
    finally:
        sys.stdout.flush()  # what user code printed stands before what Python says of its end
    os._exit(0)


def _answer(message: Message, scratch: Path) -> Answer:
    """Return the task's result with its trace, or how it failed."""
    try:
        recorder = Recorder(message.root, message.ignored)
        compile_from_source(recorder.is_input)
        kind = getattr(importlib.import_module(message.module), message.name)
        task = decode(message.request, kind)
        for path in find_sources(task):
            recorder.expect(path)
        result = task.run(message.folder, _speaker(scratch / SAID))
        return Answer(encode(result, message.folder), recorder.trace(message.isolated), imported_packages())
    except Exception as error:  # user code and frameworks may raise anything; the parent makes it a typed error
        typed = error if isinstance(error, OnnxpackError) else None
        if typed is None or typed.exit_code != EngineError.exit_code:  # that one says more
            full = _find_full_disk(error)
            if full:
                return Answer(no_room=os.fsdecode(full.filename2 or full.filename or ""))
        return Answer(exit_code=typed.exit_code, problems=typed.problems) if typed else _crash(error)


def _find_full_disk(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk behind what a library, or the code of a model, made of it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return error
        # Native code tells it by words alone.
        if not isinstance(error, OnnxpackError) and os.strerror(errno.ENOSPC) in str(error)[:_LONGEST]:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _speaker(place: Path) -> Say:
    def say(text: str) -> None:
        with contextlib.suppress(OSError):  # how far it is, is not worth an error
            place.write_text(text)

    return say


def _crash(error: Exception) -> Answer:
    words = f"{type(error).__name__}: {error}"[:_LONGEST].strip()  # before anything that costs time for each character
    stack = [bound_text(part, _LONGEST) for part in traceback.format_exception(error)[-_FRAMES:]]
    return Answer(crash=words.splitlines()[0], stack=bound_text("".join(stack), _LONGEST))


if __name__ == "__main__":
    main()
