"""A BentoML service with one worker, as `bentoml serve` runs it."""

import os
import sys
from typing import Any

import bentoml
import numpy as np
from shared import DTYPES, open_session, read_arguments

TASK = read_arguments()


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Service:
    """The model."""

    def __init__(self) -> None:
        self.session = open_session(TASK.model)

    @bentoml.api(route="/infer")
    def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Answer JSON."""
        arrays = {
            item["name"]: np.array(item["data"], DTYPES[item["datatype"]]).reshape(item["shape"]) for item in inputs
        }
        results = self.session.run(None, arrays)
        names = [value.name for value in self.session.get_outputs()]
        return {
            "outputs": [
                {"name": name, "shape": list(array.shape), "data": array.ravel().tolist()}
                for name, array in zip(names, results, strict=True)
            ]
        }


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 -- where the service is looked for
    command = ["-m", "bentoml", "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", str(TASK.port)]
    os.execv(sys.executable, [sys.executable, *command])
