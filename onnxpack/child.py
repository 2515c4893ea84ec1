"""Calls a function in a child process: what loads a model, runs user code or runs a graph cannot take the parent down.

Both sides speak JSON through files only; a child's typed error becomes the same error in the parent.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxpack.errors import BY_EXIT_CODE, Location, OnnxpackError, Problem, SourceError

_LOG_LINES = 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def call(function: str, request: dict[str, Any], scratch: Path, limit: float | None = None) -> Any:
    """Runs ``package.module:name`` with the keyword arguments ``request`` in a new process; gives its JSON result.

    ``scratch`` is an existing folder for the messages and for what the child prints; after ``limit`` seconds the
    process is ended.

    Raises:
        OnnxpackError: the one that the function raised.
        SourceError: the process died, by a signal, by an exception that is not typed or by the limit.
    """
    message, result, log = (scratch / name for name in ("request.json", "result.json", "log.txt"))
    message.write_text(json.dumps({"function": function, "request": request}))
    result.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            # -P: no file of the working folder takes the place of a module of the same name
            [sys.executable, "-P", "-m", "onnxpack.child", str(message), str(result)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,  # ctrl-C reaches the parent alone, which ends the whole group
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise SourceError(f"{_step(function)} took longer than {limit:g} s", "it was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not result.exists():
        raise SourceError(
            f"the process that ran {_step(function)} died: {_death(status)}",
            "the end of its output is below; too little memory is the usual cause of a kill",
            _tail(log),
        )
    answer = json.loads(result.read_text())
    if "error" in answer:
        kind = BY_EXIT_CODE[answer["error"]["exit_code"]]
        raise kind([_problem(problem) for problem in answer["error"]["problems"]])
    if "crash" in answer:
        raise SourceError(
            f"{_step(function)} failed: {answer['crash']['message']}", "the cause is below", answer["crash"]["trace"]
        )
    return answer["value"]


def _environment() -> dict[str, str]:
    return os.environ | {
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",  # exporters iterate over sets
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written beside a user's code
    }


def _step(function: str) -> str:
    return function.partition(":")[2].replace("_", " ")


def _death(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])


def _problem(data: dict[str, Any]) -> Problem:
    where = Location(**data.pop("where")) if data.get("where") else data.pop("where")
    return Problem(**data, where=where)


def _answer(message: Path) -> dict[str, Any]:
    """What the function gives, or how it failed."""
    call = json.loads(message.read_text())
    module, _, name = call["function"].partition(":")
    try:
        return {"value": getattr(importlib.import_module(module), name)(**call["request"])}
    except OnnxpackError as error:
        return {"error": {"exit_code": error.exit_code, "problems": [asdict(problem) for problem in error.problems]}}
    except Exception as error:  # user code and frameworks may raise anything; the parent makes it a typed error
        words = f"{type(error).__name__}: {error}".strip()
        trace = "".join(traceback.format_exception(error)[-6:])
        return {"crash": {"message": words.splitlines()[0], "trace": trace}}


def main() -> None:
    """The child's side."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    message, result = map(Path, sys.argv[1:])
    answer = json.dumps(_answer(message))
    partial = result.with_suffix(".part")
    partial.write_text(answer)
    partial.rename(result)
    sys.stdout.flush()
    os._exit(0)  # frameworks' threads and destructors may hang or crash; all that counts is written


if __name__ == "__main__":
    main()
