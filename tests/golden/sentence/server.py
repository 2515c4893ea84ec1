"""sentence 1.0.0 over HTTP and gRPC: the Open Inference Protocol, version 2.

    GET   /                           a page for people: the model, and a form to try it
    POST  /predict                    a prediction, from what people have
    GET   /v2                         what this server is
    GET   /v2/health/live             whether it runs
    GET   /v2/health/ready            whether requests are taken
    GET   /v2/models/stats            predictions so far, and what they took
    POST  /v2/repository/index        the models there are
    GET   /metrics                    counters for Prometheus
    GET   /openapi.json               all this for tools, with an example
    GET   /favicon.ico                no icon: browsers ask for one
    GET   /v2/models/sentence         what goes in and what comes out
    GET   /v2/models/sentence/config  what Triton's tools ask of a model
    GET   /v2/models/sentence/stats   predictions of this model so far
    GET   /v2/models/sentence/ready   whether requests for this model are taken
    POST  /v2/models/sentence/infer   a prediction, from JSON or binary tensors

Those of the model also answer below /v2/models/sentence/versions/1.0.0.
An error is {"error": "why"} with a status of 400, 404, 405, 408, 413, 415, 431, 500, 501 or 503.

Over gRPC, on a port of its own: inference.GRPCInferenceService, and grpc.health.v1.Health/Check.
"""

import os
import signal


def main() -> None:
    """Serve until told to stop. Exit status: 0 after SIGTERM, 1 if the model cannot be loaded."""
    # The first process of a container has no default action for signals, and the imports below take a while.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    import serving

    serving.main()


if __name__ == "__main__":
    main()
