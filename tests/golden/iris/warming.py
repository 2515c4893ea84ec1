"""Warms the server up: its first client waits for nothing that the next ones do not wait for."""

import asyncio
import socket

from app import App
from connection import Connection
from openapi import make_example
from routes import MODEL_PATHS
from tensors import encode

TIMES = 3  # the first request starts a thread and shows what the model takes; the next ones may need none


async def warm_up(app: App) -> None:
    """Ask for predictions over connections inside this process, and forget that they were asked for."""
    example = make_example()
    if example is None:  # what so large a request takes is the model's time, and the model has run
        return
    body = encode(example)
    head = f"POST {MODEL_PATHS[0]}/infer HTTP/1.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    for _ in range(TIMES):
        await ask(app, head.encode() + body)
    app.metrics.forget()


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
