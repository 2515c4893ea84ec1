"""tritonclient over HTTP with asyncio."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tritonclient.http.aio as client
from ask_values import VALUES, require_same


async def ask():
    """Ask several times at once."""
    async with client.InferenceServerClient(sys.argv[1]) as server:
        assert await server.is_server_ready()
        assert await server.is_model_ready("passing")
        inputs = []
        for name, (datatype, array) in VALUES.items():
            inputs.append(client.InferInput(name, list(array.shape), datatype))
            inputs[-1].set_data_from_numpy(array)
        for result in await asyncio.gather(*(server.infer("passing", inputs) for _ in range(8))):
            for name in VALUES:
                require_same(name, result.as_numpy(f"out_{name}"))


asyncio.run(ask())
print("aio")
