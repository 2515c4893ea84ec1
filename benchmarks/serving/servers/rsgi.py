"""A bare RSGI application on granian, which runs the model in its event loop."""

from typing import Any

from granian import Granian
from shared import open_session, read_arguments, run_body

TASK = read_arguments()
SESSION = None if __name__ == "__main__" else open_session(TASK.model)  # the worker imports this file again


async def app(scope: Any, proto: Any) -> None:
    """Answer a request."""
    body = await proto()
    length = int(scope.headers.get("inference-header-content-length", len(body)))
    answer, length = run_body(SESSION, body, length)
    proto.response_bytes(200, [("inference-header-content-length", str(length))], answer)


if __name__ == "__main__":
    Granian("rsgi:app", port=TASK.port, interface="rsgi", websockets=False, log_enabled=False).serve()
