"""Warms the server up: its first client waits for nothing that the next ones do not wait for."""

import asyncio
import socket

import orjson

from app import App
from connection import Connection
from routes import MODEL_PATH, OPENAPI

TIMES = 3  # the first request starts a thread and shows what the model takes; the next ones may need none


async def warm_up(app: App) -> None:
    """Ask for predictions over connections inside this process, and forget that they were asked for."""
    body = find_example()
    if body is None:  # what so large a request takes is the model's time, and the model has run
        return
    head = f"POST {MODEL_PATH}/infer HTTP/1.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    for _ in range(TIMES):
        await ask(app, head.encode() + body)
    app.metrics.forget()


def find_example() -> bytes | None:
    """Return the request that the OpenAPI document shows, if it shows one."""
    post = orjson.loads(OPENAPI.body)["paths"][f"{MODEL_PATH}/infer"]["post"]
    example = post["requestBody"]["content"]["application/json"].get("example")
    return None if example is None else orjson.dumps(example)


async def ask(app: App, request: bytes) -> bytes:
    """Send a request, and return the answer."""
    loop = asyncio.get_running_loop()
    client, server = socket.socketpair()
    answer = b""
    with client:
        client.setblocking(False)
        await loop.connect_accepted_socket(lambda: Connection(app), server)
        await loop.sock_sendall(client, request)
        while part := await loop.sock_recv(client, 2**16):
            answer += part
    return answer
