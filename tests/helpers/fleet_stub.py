"""A stand-in for the process of a fleet: what it does with a job is the name of the job's target."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from onnxpack.fleet.channel import Sender, receive_job
from onnxpack.fleet.events import Finished, StageBegan, StageEnded, Started
from onnxpack.fleet.job import Job, Outcome

PATIENCE = 60.0


def main(events: int) -> None:
    sender = Sender(events)
    while job := receive_job(sys.stdin.buffer):
        os.chdir(job.folder)
        sender.send(Started(job.number, str(os.getpid())))
        sender.send(StageBegan(job.number, "export"))
        state = do(job, events)
        sender.send(StageEnded(job.number, "export", 0.5, True))
        sender.send(Finished(job.number, Outcome(job.number, state, make_document(state), name_result(job, state))))


def do(job: Job, events: int) -> str:
    if job.target == "die":
        print("the last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if job.target == "garbage":
        os.write(events, b"\xff\xff\xff\xff\xff")
        signal.pause()
    if job.target == "hang":
        Path(f"hangs-{job.number}").touch()
        signal.pause()
    if job.target == "meet":  # ends once another one is at work too
        Path(f"here-{job.number}").touch()
        until = time.monotonic() + PATIENCE
        while len(list(Path().glob("here-*"))) < 2:
            if time.monotonic() > until:
                return "failed"
            time.sleep(0.01)
    if job.target == "alone":  # fails if another one is at work
        try:
            Path("alone").touch(exist_ok=False)
        except FileExistsError:
            return "failed"
        time.sleep(0.05)
        Path("alone").unlink()
    return "failed" if job.target == "fail" else "built"


def name_result(job: Job, state: str) -> str:
    return f"{job.name}:{job.target}" if state == "built" else ""


def make_document(state: str) -> dict[str, object]:
    problems = [{"message": "it is wrong", "hint": "mend it", "where": None, "detail": ""}]
    return {"status": "passed"} if state == "built" else {"exit_code": 4, "stage": "verify", "problems": problems}


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[3])
    main(int(sys.argv[1]))
