"""What the OpenAPI document promises, against the server: thousands of requests by another project's hand."""

import os
import subprocess
from pathlib import Path

import pytest
from environments import make_environment
from serving import Server, serving

# Schemathesis comes over the network, with 27 packages of its own.
pytestmark = pytest.mark.e2e
LOCK = Path(__file__).with_name("schemathesis.lock")  # uv pip compile --universal --generate-hashes --no-annotate
SECONDS = 300  # it takes ten where nothing else runs


@pytest.fixture(scope="module")
def programs() -> Path:
    return make_environment(LOCK)


def attack(programs: Path, folder: Path, server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it on a server, with a bounded number of requests for each operation."""
    location = f"http://127.0.0.1:{server.port}/openapi.json"
    # A request may be all that its schema says and still be wrong: its data must be as many as its shape says.
    choices = ["--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance"]
    command = [programs / "schemathesis", "run", location, *choices, "--max-examples", "10", "--no-color", *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.case("S10")
@pytest.mark.parametrize("model", ["transactions", "odd"])
def test_the_server_keeps_what_its_document_promises(
    model: str, programs: Path, apps: dict[str, Path], tmp_path: Path
) -> None:
    with serving(apps[model]) as server:
        done = attack(programs, tmp_path, server)
        assert done.returncode == 0, done.stdout
        assert "Fuzzing" in done.stdout
        assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})
        assert server.metric("onnxpack_request_seconds_count") > 200


WRONG = """
import routes
routes.ROUTES["/v2"] = routes.Route(routes.GET, routes.LIVE)
routes.ROUTES["/v2/health/live"] = routes.Route((b"GET", b"HEAD", b"POST", b"PUT"), routes.LIVE)
routes.ROUTES["/metrics"] = routes.Route(routes.GET, routes.PAGE)
"""


def test_a_server_that_answers_otherwise_is_found_out(programs: Path, apps: dict[str, Path], tmp_path: Path) -> None:
    paths = ["/v2", "/v2/health/live", "/metrics"]
    options = [word for path in paths for word in ("--include-path", path)]
    with serving(apps["odd"], WRONG) as server:
        done = attack(programs, tmp_path, server, *options)
    assert done.returncode == 1, done.stdout
    found = done.stdout.partition("FAILURES")[2]
    for word in (
        *paths,
        "Response violates schema",
        "Undocumented Content-Type",
        "Wrong response to undeclared method",
    ):
        assert word in found, done.stdout
