"""The child process: run the task in the scratch folder's request, and write the answer there."""

import contextlib
import importlib
import os
import sys
import traceback
from pathlib import Path

from onnxpack.cache.trace import Recorder, list_imported_packages
from onnxpack.core.errors import DISK_FULL, OnnxpackError, shorten_text
from onnxpack.worker.call import ANSWER, MOST_PROBLEMS, NO_ROOM, REQUEST, Answer, Message
from onnxpack.worker.codec import decode, encode
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
        kind = getattr(importlib.import_module(message.module), message.name)
        task = decode(message.request, kind)
        result = task.run(message.folder, _make_say(scratch / SAID))
        data = encode(result, message.folder)
        return encode(Answer(data, recorder.trace(message.isolated), list_imported_packages()))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        return encode(_describe_crash(error))
    except OnnxpackError as error:
        return encode(Answer(exit_code=error.exit_code, problems=error.problems[:MOST_PROBLEMS]))
    except Exception as error:  # user code and frameworks may raise anything; the parent makes it a typed error
        return encode(_describe_crash(error))


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
