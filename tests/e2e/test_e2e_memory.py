"""The memory of a container that answers requests of every size: what the report says of it, and that it is bounded."""

import json
from typing import Any

import pytest
from e2e_tools import Built, Workshop, box

# Four open connections in a process beside the server, which must cost it little: the requests are made before, and an
# answer is read no further than its length. Most have few rows; one in five hundred has any number that is declared.
MANY = """
import http.client, json, math, os, random, socket, sys, threading
import inference

CONNECTIONS, REQUESTS, MOST = 4, int(sys.argv[1]), inference.AXES["batch"][1]
PAGE = os.sysconf("SC_PAGE_SIZE")

def request(rows):
    data = [[5.1, 3.5, 1.4, 0.2]] * rows
    tensor = {"name": "float_input", "datatype": "FP32", "shape": [rows, 4], "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/iris/infer HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
    return head.encode() + body

SMALL = [request(rows) for rows in range(1, 17)]
memory, failures = [], []

def ask(seed):
    draws = random.Random(seed)
    client = socket.create_connection(("127.0.0.1", 8080), timeout=60)
    stream = client.makefile("rb")
    for number in range(REQUESTS // CONNECTIONS):
        if number % 500 == 0:
            client.sendall(request(round(math.exp(draws.uniform(0, math.log(MOST))))) if number else request(MOST))
        else:
            client.sendall(draws.choice(SMALL))
        status, length = stream.readline(), 0
        while (line := stream.readline()) not in (b"\\r\\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        stream.read(length)
        if b" 200 " not in status:
            failures.append(status.decode())
            return
        if number % 100 == 0:
            memory.append(int(open("/proc/1/statm").read().split()[1]) * PAGE)

threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"failures": failures, "memory": memory}))
"""


@pytest.mark.case("S8")
def test_a_hundred_thousand_requests_of_varied_shapes_leave_memory_bounded(iris: Built, engine: Any) -> None:
    confined = {"network_mode": "none", "read_only": True, "mem_limit": "256m"}
    with box(engine, iris.reference, host=confined) as server:
        found = json.loads(server.ready().python(MANY, "100000"))
        state = server.facts()["State"]
    assert found["failures"] == []
    memory = found["memory"]
    assert len(memory) == 1000
    warm = max(memory[: len(memory) // 10])
    assert max(memory) - warm < 16 * 2**20, "and it had grown already when a tenth of them was answered"
    assert (state["Running"], state["OOMKilled"]) == (True, False)


def test_the_report_says_how_memory_grows_over_all_declared_sizes(iris: Built, transactions: Built) -> None:
    for built in (iris, transactions):
        soak = built.report["smoke"]["soak"]
        assert 9 <= soak["requests"] <= 2000
        assert 0 <= soak["growth_bytes"] < soak["rss_bytes"] <= soak["peak_rss_bytes"]
        assert 20 * 2**20 < soak["rss_bytes"] < 2**31
        assert built.report["not_judged"] == []


def test_an_image_without_a_server_is_soaked_in_its_own_process(workshop: Workshop, engine: Any) -> None:
    gates = {"rss_growth": "1GB"}
    spec = workshop.copy("iris", "soaked", runtime={"server": "none"}, version="1.0.0-soaked", gates=gates)
    spec.with_suffix(".lock").unlink()  # it holds the server's packages
    built = workshop.build(spec, workshop.root / "soaked-dist", "--require-gates")
    soak = built.report["smoke"]["soak"]
    assert soak["requests"] >= 30
    assert 0 <= soak["growth_bytes"] < 10**9
