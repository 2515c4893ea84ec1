"""Dynamic batching in a real image: many clients at once get what each of them gets alone."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e_tools import Client, Workshop, box

PATH = "/v2/models/transactions/infer"


def make_request(metadata: Any, chance: random.Random) -> dict[str, Any]:
    """Return a request of one account with few transactions."""
    length = chance.choice([4, 8])
    inputs = []
    for item, tail in zip(metadata["inputs"], ([], [20], []), strict=True):
        shape = [1, length, *tail]
        count = length * (tail or [1])[0]
        data = [chance.randrange(1, 12) for _ in range(count)]
        inputs.append({"name": item["name"], "datatype": item["datatype"], "shape": shape, "data": data})
    return {"inputs": inputs}


def test_requests_of_many_clients_run_in_batches(workshop: Workshop, engine: Any) -> None:
    spec = workshop.copy("transactions", "batching", runtime={"batching": {"max_batch_size": 16}})
    built = workshop.build(spec, workshop.root / "batching")
    host = {"port_bindings": {8080: ("127.0.0.1",)}, "cpu_period": 100_000, "cpu_quota": 20_000}
    chance = random.Random(3)
    with box(engine, built.reference, host=host, ports=[8080]) as server, ThreadPoolExecutor(24) as pool:
        client = Client(server.ready().find_port())
        metadata = client.ask("GET", "/v2/models/transactions")[1]
        requests = [make_request(metadata, chance) for _ in range(96)]
        alone = [client.infer(request, PATH)[:2] for request in requests]
        assert {status for status, _ in alone} == {200}
        runs = client.read_metric("onnxpack_runs_total")
        together = list(pool.map(lambda request: client.infer(request, PATH)[:2], requests))
        more = client.read_metric("onnxpack_runs_total") - runs
    for (_, one), (status, other) in zip(alone, together, strict=True):
        assert status == 200
        [first], [second] = one["outputs"], other["outputs"]
        assert abs(first["data"][0] - second["data"][0]) <= 1e-3 * abs(first["data"][0])
    assert more < len(requests) * 0.8, f"{len(requests)} requests ran in {more} runs"
