"""A bare ASGI application on uvicorn, which runs the model in its event loop."""

from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from shared import open_session, read_arguments, run_body

TASK = read_arguments()
SESSION = open_session(TASK.model)


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer a request."""
    parts = []
    more = scope["type"] == "http"
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    length = int(dict(scope["headers"]).get(b"inference-header-content-length", len(body)))
    answer, length = run_body(SESSION, body, length)
    headers = [(b"content-length", b"%d" % len(answer)), (b"inference-header-content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(app, port=TASK.port, http="httptools", lifespan="off", access_log=False, log_level="warning")
