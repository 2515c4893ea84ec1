"""The least that can answer: an asyncio.Protocol over httptools that checks nothing, and runs the model in its loop."""

import asyncio
import json
import sys
from typing import Any

import httptools
import numpy as np
import onnxruntime


class Raw(asyncio.Protocol):
    """One connection."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Take a part."""
        self.body += body

    def on_message_complete(self) -> None:
        """Answer."""
        request = json.loads(self.body) if self.body else {"inputs": []}
        self.body = b""
        feeds = {item["name"]: np.array(item["data"], np.float32).reshape(item["shape"]) for item in request["inputs"]}
        outputs = self.session.run(None, feeds) if feeds else []
        answer = json.dumps({"outputs": [{"shape": array.shape, "data": array.tolist()} for array in outputs]}).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)


async def main(model: str, port: int) -> None:
    """Serve for ever."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    server = await asyncio.get_running_loop().create_server(lambda: Raw(session), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
