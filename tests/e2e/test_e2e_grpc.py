"""An image that serves gRPC besides HTTP: what it holds, and how it answers from outside."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from calling import HEALTH, call, calling, make_request, read_answer
from e2e_tools import DATATYPES, Box, Built, Workshop, box, first_case
from serving import Server


@pytest.fixture(scope="module")
def both(workshop: Workshop, engine: Any) -> Built:
    spec = workshop.copy("iris", "grpc", runtime={"server": "http+grpc"}, version="1.0.0-grpc")
    spec.with_suffix(".lock").unlink()  # it holds the packages of HTTP alone
    return workshop.build(spec, workshop.root / "grpc-dist")


@pytest.fixture(scope="module")
def server(both: Built, engine: Any) -> Iterator[Box]:
    """Its container, with both ports published on this machine's loopback."""
    ports = {8080: ("127.0.0.1",), 8081: ("127.0.0.1",)}
    confined = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "mem_limit": "256m"}
    host = {"port_bindings": ports, **confined}
    with box(engine, both.reference, host=host, ports=[8080, 8081]) as server:
        yield server.ready()


def test_the_image_has_both_ports_and_no_package_too_much(both: Built, iris: Built, engine: Any) -> None:
    config = engine.inspect_image(both.reference)["Config"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp"}
    library = both.context / "rootfs/runtime/opt/onnxpack/lib"
    assert (library / "grpc/_cython").is_dir()
    assert not (library / "google").exists(), "the messages are read without protobuf"
    assert not list(library.glob("grpc/**/roots.pem"))
    assert list(library.glob("grpcio-*.dist-info/licenses/LICENSE"))
    added = [path for pattern in ("grpc*/**/*", "typing_extensions*") for path in library.glob(pattern)]
    assert sum(path.stat().st_size for path in added if path.is_file()) < 20e6
    assert not list(iris.context.glob("**/grpc*")), "an image of HTTP alone holds none of it"


def test_it_answers_over_grpc_what_the_source_model_does(server: Box, both: Built, workshop: Workshop) -> None:
    case = first_case(workshop.cache, both)
    port = int(server.facts()["NetworkSettings"]["Ports"]["8081/tcp"][0]["HostPort"])
    arrays = {name: (DATATYPES[array.dtype.name], array) for name, array in case.inputs.items()}
    with calling(Server(None, server.find_port(), port)) as channel:  # type: ignore[arg-type]
        assert channel.unary_unary(HEALTH)(b"", timeout=30, wait_for_ready=True) == b"\x08\x01"
        for raw in (False, True):
            found = read_answer(call(channel, "ModelInfer", make_request("iris", arrays, raw)))
            assert list(found) == list(case.outputs)
            for name, right in case.outputs.items():
                np.testing.assert_allclose(found[name], right, rtol=1e-3, atol=1e-4)


def test_it_ends_with_0_and_in_time(both: Built, engine: Any) -> None:
    with box(engine, both.reference) as one:
        one.ready()
        engine.stop(one.id, timeout=30)
        state = one.facts()["State"]
    assert (state["Running"], state["OOMKilled"], state["ExitCode"]) == (False, False, 0)
