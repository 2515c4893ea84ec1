"""Several processes behind one port of a real image: one may die, and the others go on."""

import http.client
import json
from typing import Any

from e2e_tools import DATATYPES, Client, Workshop, box, eventually, first_case

# The worker that is killed is any child of the container's first process.
KILL = """
import os, signal
from pathlib import Path
children = [int(child) for task in Path("/proc/1/task").iterdir() for child in (task / "children").read_text().split()]
os.kill(children[0], signal.SIGKILL)
print(len(children))
"""

COUNT = """
from pathlib import Path
print(sum(len((task / "children").read_text().split()) for task in Path("/proc/1/task").iterdir()))
"""


def test_a_killed_worker_is_started_again_while_the_other_answers(workshop: Workshop, engine: Any) -> None:
    spec = workshop.copy("iris", "workers", runtime={"workers": 2})
    built = workshop.build(spec, workshop.root / "workers")
    case = first_case(workshop.cache, built)
    host = {"port_bindings": {8080: ("127.0.0.1",)}}
    with box(engine, built.reference, host=host, ports=[8080]) as server:
        client = Client(server.ready().find_port())

        def ask() -> bool:
            """Ask for a prediction; False where the connection was the dead worker's."""
            try:
                status, answer, _ = client.infer(case.request(DATATYPES))
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                return False
            assert status == 200, answer
            case.agrees(answer)
            return True

        assert ask()
        eventually(lambda: server.python(COUNT) == "2\n", "both workers ran")
        assert server.python(KILL) == "2\n"
        answers = [ask() for _ in range(20)]
        assert answers.count(True) >= 15
        eventually(lambda: server.python(COUNT) == "2\n", "both workers ran again")
        assert ask()
        engine.stop(server.id, timeout=30)
        assert server.facts()["State"]["ExitCode"] == 0, server.log()
