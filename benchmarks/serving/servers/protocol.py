"""The least that can answer: an asyncio.Protocol over httptools that checks nothing, and runs the model in its loop."""

import asyncio
from typing import Any

import httptools
from shared import open_session, read_arguments, run_body


class Raw(asyncio.Protocol):
    """One connection."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.parser = httptools.HttpRequestParser(self)
        self.parts: list[bytes] = []
        self.length: int | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the one header that matters."""
        if name.lower() == b"inference-header-content-length":
            self.length = int(value)

    def on_body(self, body: bytes) -> None:
        """Take a part."""
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        body = b"".join(self.parts)
        answer, length = run_body(self.session, body, len(body) if self.length is None else self.length)
        self.parts.clear()
        self.length = None
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ninference-header-content-length: %d\r\n\r\n"
            % (len(answer), length)
            + answer
        )


async def main() -> None:
    """Serve for ever."""
    task = read_arguments()
    session = open_session(task.model)
    server = await asyncio.get_running_loop().create_server(lambda: Raw(session), "127.0.0.1", task.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
