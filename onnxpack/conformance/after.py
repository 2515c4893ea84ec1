"""What must be true when all else was asked."""

from onnxpack.conformance.checks import Level, check
from onnxpack.conformance.expect import require, require_ok, require_same
from onnxpack.conformance.server import Server, read_outputs


@check("after.ready", "the server is still ready", Level.REQUIRED, "Server Ready")
def check_still_ready(server: Server) -> None:
    """Ask for health again."""
    for path in ("/v2/health/live", "/v2/health/ready", f"{server.path}/ready"):
        require(server.ask("GET", path).status == 200, "200")


@check("after.infer", "the server still answers as at first", Level.REQUIRED, "Inference")
def check_still_answers(server: Server) -> None:
    """Ask for the first prediction again."""
    answer = server.infer(server.sample.to_json())
    require_ok(answer)
    require_same(read_outputs(answer), server.outputs)
