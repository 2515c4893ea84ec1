"""FastAPI as it is written by hand: pydantic models, and a function that FastAPI runs in its threads."""

from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from shared import DTYPES, open_session, read_arguments, run_body
from starlette.concurrency import run_in_threadpool

TASK = read_arguments()
SESSION = open_session(TASK.model)
app = FastAPI()


class Tensor(BaseModel):
    """An input."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | list[int]


class Inputs(BaseModel):
    """A request."""

    inputs: list[Tensor]


@app.post("/infer")
def infer(request: Inputs) -> dict[str, Any]:
    """Answer JSON."""
    arrays = {item.name: np.array(item.data, DTYPES[item.datatype]).reshape(item.shape) for item in request.inputs}
    results = SESSION.run(None, arrays)
    names = [value.name for value in SESSION.get_outputs()]
    return {
        "outputs": [
            {"name": name, "shape": array.shape, "data": array.ravel().tolist()}
            for name, array in zip(names, results, strict=True)
        ]
    }


@app.post("/binary")
async def infer_binary(request: Request) -> Response:
    """Answer binary tensors."""
    body = await request.body()
    length = int(request.headers["inference-header-content-length"])
    answer, length = await run_in_threadpool(run_body, SESSION, body, length)
    return Response(answer, headers={"inference-header-content-length": str(length)})


if __name__ == "__main__":
    uvicorn.run(app, port=TASK.port, access_log=False, log_level="warning")
