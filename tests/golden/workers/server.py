"""iris 1.0.0 over HTTP: the Open Inference Protocol, version 2.

    GET   /                       a page for people: the model, and a form to try it
    POST  /predict                a prediction, from what people have
    GET   /v2                     what this server is
    GET   /v2/health/live         whether it runs
    GET   /v2/health/ready        whether requests are taken
    GET   /v2/models/stats        predictions so far, and what they took
    POST  /v2/repository/index    the models there are
    GET   /metrics                counters for Prometheus
    GET   /openapi.json           all this for tools, with an example
    GET   /favicon.ico            no icon: browsers ask for one
    GET   /v2/models/iris         what goes in and what comes out
    GET   /v2/models/iris/config  what Triton's tools ask of a model
    GET   /v2/models/iris/stats   predictions of this model so far
    GET   /v2/models/iris/ready   whether requests for this model are taken
    POST  /v2/models/iris/infer   a prediction, from JSON or binary tensors

Those of the model also answer below /v2/models/iris/versions/1.0.0.
An error is {"error": "why"} with a status of 400, 404, 405, 408, 413, 415, 431, 500, 501 or 503.
"""

import os
import signal


def main() -> None:
    """Serve until told to stop. Exit status: 0 after SIGTERM, 1 if the model cannot be loaded."""
    # The first process of a container has no default action for signals, and the imports below take a while.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    import supervisor

    supervisor.main()


if __name__ == "__main__":
    main()
