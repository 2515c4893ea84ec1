"""What must be true when all else was asked."""

from onnxpack.conformance import health
from onnxpack.conformance.checks import Level, check
from onnxpack.conformance.expect import require_ok, require_same
from onnxpack.conformance.server import Server, read_outputs


@check("after.ready", "the server is still ready", Level.REQUIRED, "Server Ready")
def check_still_ready(server: Server) -> None:
    """Ask for health again."""
    for earlier in (health.check_live, health.check_ready, health.check_model_ready):
        earlier.function(server)


@check("after.infer", "the server still answers as at first", Level.REQUIRED, "Inference")
def check_still_answers(server: Server) -> None:
    """Ask for the first prediction again."""
    answer = server.infer(server.sample.to_json())
    require_ok(answer)
    require_same(read_outputs(answer), server.outputs)
