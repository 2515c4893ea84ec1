"""The built images at work, as strictly confined as they may be and as plainly as a user runs them."""

import http.client
import io
import json
from typing import Any

import numpy as np
import pytest
from e2e_tools import ASK, DATATYPES, Box, Built, Workshop, box, eventually, first_case

from onnxpack.conformance.checks import Verdict
from onnxpack.conformance.suite import Request, check_server


@pytest.mark.case("S9")
def test_it_answers_offline_confined_and_as_any_user(example: Built, workshop: Workshop, engine: Any) -> None:
    case = first_case(workshop.cache, example)
    confined = {
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": "256m",
        "cpu_period": 100_000,
        "cpu_quota": 50_000,
    }
    with box(engine, example.reference, host=confined, user="12345") as server:
        request = json.dumps(case.request(DATATYPES))
        answer = server.ready().python(ASK, f"/v2/models/{example.report['name']}/infer", request)
    case.agrees(json.loads(answer))


def test_a_published_port_answers_this_machine(published: Box, iris: Built, workshop: Workshop, engine: Any) -> None:
    case = first_case(workshop.cache, iris)
    connection = http.client.HTTPConnection("127.0.0.1", published.find_port(), timeout=60)
    try:
        connection.request("POST", "/v2/models/iris/infer", json.dumps(case.request(DATATYPES)))
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 200, body
    case.agrees(json.loads(body))


def test_a_container_passes_all_checks_of_the_protocol(published: Box) -> None:
    port = published.facts()["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
    _, results = check_server(Request(f"http://127.0.0.1:{port}"), lambda _: None)
    assert {result.id: result.reason for result in results if result.verdict is Verdict.FAIL} == {}
    assert sum(result.verdict is Verdict.PASS for result in results) > 90


def test_it_becomes_healthy(published: Box) -> None:
    eventually(lambda: published.facts()["State"]["Health"]["Status"] == "healthy", "the server was healthy")


def test_it_ends_with_0_when_it_is_told_to(iris: Built, engine: Any) -> None:
    with box(engine, iris.reference) as server:
        server.ready()
        engine.stop(server.id, timeout=30)  # SIGTERM, and SIGKILL after that time
        state = server.facts()["State"]
    assert (state["Running"], state["OOMKilled"], state["ExitCode"]) == (False, False, 0)


TASKS = """
import os
import inference
model = inference.Model()
model.warm_up()
tasks = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(model.threads, *tasks)
"""


def test_it_sends_no_telemetry(iris: Built, engine: Any) -> None:
    # As root with a home, so that it could write wherever it would; with one CPU, so that it needs one thread.
    writable = {"network_mode": "none", "cpuset_cpus": "0"}
    with box(engine, iris.reference, host=writable, user="0", environment={"HOME": "/tmp"}) as server:
        threads, *tasks = server.ready().python(TASKS).split()
        changes = engine.diff(server.id)
    assert (threads, tasks) == ("1", ["python3"])
    assert not changes


def test_without_a_server_its_command_line_answers(iris: Built, workshop: Workshop, engine: Any) -> None:
    spec = workshop.copy("iris", "command-line", runtime={"server": "none"}, version="1.0.0-command")
    lock = spec.with_suffix(".lock")
    lock.unlink()  # it holds the server's packages
    built = workshop.build(spec, workshop.root / "command-line-dist")
    assert lock.exists()
    assert built.report["smoke"]["comparisons"] == 4 * 2  # four sizes, two outputs
    assert not list(built.context.glob("**/server.py"))
    assert not list(built.context.glob("**/httptools"))
    config = engine.inspect_image(built.reference)["Config"]
    assert not config.get("ExposedPorts")
    assert not config.get("Healthcheck")

    case = first_case(workshop.cache, built)
    with box(engine, built.reference, ["--input", "/data/x.npz"], files={"x.npz": case.file}) as made:
        assert engine.wait(made.id, timeout=120)["StatusCode"] == 0, made.log()
        answer = json.loads(engine.logs(made.id, stdout=True, stderr=False))
    assert list(answer) == list(case.outputs)
    for name, right in case.outputs.items():
        np.testing.assert_allclose(answer[name], right, rtol=1e-3, atol=1e-4)


def test_an_image_answers_as_the_reference_beside_its_bundle(example: Built, engine: Any) -> None:
    files = {"reference.npz": (example.output / "reference.npz").read_bytes()}
    command = ["-m", "inference", "check", "--reference", "/data/reference.npz"]
    with box(engine, example.reference, command, entrypoint=["python3"], files=files) as made:
        assert engine.wait(made.id, timeout=120)["StatusCode"] == 0, made.log()
        assert "cases compared: 00_" in made.log()


def test_the_command_line_writes_arrays_into_a_volume(iris: Built, workshop: Workshop, engine: Any) -> None:
    case = first_case(workshop.cache, iris)
    entrypoint = ["python3", "-m", "inference"]
    command = ["--input", "/data/x.npz", "--output", "/data/y.npz"]
    with box(engine, iris.reference, command, entrypoint=entrypoint, files={"x.npz": case.file}, user="0") as made:
        assert engine.wait(made.id, timeout=120)["StatusCode"] == 0, made.log()
        arrays = np.load(io.BytesIO(made.get("/data/y.npz")))
    for name, right in case.outputs.items():
        assert arrays[name].dtype == right.dtype
        np.testing.assert_allclose(arrays[name], right, rtol=1e-3, atol=1e-4)
