"""A LitServe API with one worker."""

from typing import Any

import litserve
import numpy as np
from shared import DTYPES, open_session, read_arguments


class Api(litserve.LitAPI):
    """The model."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.session = open_session(read_arguments().model)

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make arrays."""
        return {
            item["name"]: np.array(item["data"], DTYPES[item["datatype"]]).reshape(item["shape"])
            for item in request["inputs"]
        }

    def predict(self, arrays: dict[str, Any]) -> list[Any]:
        """Run it."""
        results: list[Any] = self.session.run(None, arrays)
        return results

    def encode_response(self, results: list[Any]) -> dict[str, Any]:
        """Make JSON."""
        names = [value.name for value in self.session.get_outputs()]
        return {
            "outputs": [
                {"name": name, "shape": list(array.shape), "data": array.ravel().tolist()}
                for name, array in zip(names, results, strict=True)
            ]
        }


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/infer"), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=read_arguments().port, generate_client_file=False, log_level="warning")
