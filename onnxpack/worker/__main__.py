"""The child process: run the task in the scratch folder's request, and write the answer there."""

import contextlib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from onnxpack.cache.trace import Recorder, list_imported_packages
from onnxpack.core.errors import DISK_FULL, EngineError, OnnxpackError, shorten_text
from onnxpack.spec.part import SpecPart, list_named_files
from onnxpack.worker.call import ANSWER, MOST_PROBLEMS, NO_ROOM, REQUEST, Answer, Message
from onnxpack.worker.codec import decode, encode
from onnxpack.worker.from_source import compile_from_source
from onnxpack.worker.process import SAID
from onnxpack.worker.supervise import supervise
from onnxpack.worker.task import Say

_FRAMES = 6  # of the stack, the last ones
_LONGEST = 20_000  # characters of an exception, with its stack


def main() -> None:
    """Run the task and end the process at once, since frameworks' threads and destructors may hang or crash."""
    supervise()
    scratch = Path(sys.argv[1])
    message = decode((scratch / REQUEST).read_bytes(), Message)
    try:
        answer = _run_task(message, scratch)
        partial = scratch / f"{ANSWER}.part"
        partial.write_bytes(answer)
        partial.rename(scratch / ANSWER)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        os._exit(NO_ROOM)  # there is no room for an answer either
    finally:
        sys.stdout.flush()  # what user code printed stands before what Python says of its end
    os._exit(0)


def _run_task(message: Message, scratch: Path) -> bytes:
    """Run the task, and return the message of its result with its trace, or of how it failed."""
    try:
        recorder = Recorder(message.root, message.ignored)
        compile_from_source(recorder.is_input)
        kind = getattr(importlib.import_module(message.module), message.name)
        task = decode(message.request, kind)
        for path in _find_sources(task):
            recorder.expect(path)
        result = task.run(message.folder, _make_say(scratch / SAID))
        data = encode(result, message.folder)
        return encode(Answer(data, recorder.trace(message.isolated), list_imported_packages()))
    except Exception as error:  # user code and frameworks may raise anything; the parent makes it a typed error
        typed = error if isinstance(error, OnnxpackError) else None
        if typed is None or typed.exit_code != EngineError.exit_code:  # that one says more
            full = _find_full_disk(error)
            if full:
                return encode(Answer(no_room=os.fsdecode(full.filename2 or full.filename or "")))
        if typed is None:
            return encode(_describe_crash(error))
        return encode(Answer(exit_code=typed.exit_code, problems=typed.problems[:MOST_PROBLEMS]))


def _find_sources(task: Any) -> Iterator[Path]:
    """Yield the files that the specs of a request name: their digests in its key are older than what it reads."""
    if isinstance(task, SpecPart):
        places = map(task.file.resolve, list_named_files(task.file))
        yield from (place for place in places if place.is_file())
    elif is_dataclass(task):
        for field in fields(task):
            yield from _find_sources(getattr(task, field.name))


def _find_full_disk(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk behind what a library, or the code of a model, made of it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        # Native code tells it by words alone.
        if not isinstance(error, OnnxpackError) and os.strerror(errno.ENOSPC) in str(error)[:_LONGEST]:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _make_say(place: Path) -> Say:
    def say(text: str) -> None:
        with contextlib.suppress(OSError):  # how far it is, is not worth an error
            place.write_text(text)

    return say


def _describe_crash(error: Exception) -> Answer:
    words = f"{type(error).__name__}: {error}"[:_LONGEST].strip()  # before anything that costs time for each character
    stack = [shorten_text(part, _LONGEST) for part in traceback.format_exception(error)[-_FRAMES:]]
    first = shorten_text(words.splitlines()[0], _LONGEST)
    return Answer(crash=first, stack=shorten_text("".join(stack), _LONGEST))


if __name__ == "__main__":
    main()
