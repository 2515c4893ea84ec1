"""Asks the server of a container for the tokens of strings, and keeps its answers: it runs in the container itself.

``python3 text_client.py FOLDER PORT``: ``FOLDER/requests.json`` holds bodies as texts, one answer a line goes into
``FOLDER/out/answers.jsonl``: the status, the seconds, the document, and the most memory that the server had so far.
"""

import http.client
import json
import sys
import time
from pathlib import Path

PATIENCE = 60
"""The seconds within which a server must be ready, and each answer must come."""


def main() -> None:
    """Wait for the server, and send it each body."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    wait(port)
    with (folder / "out" / "answers.jsonl").open("w") as stream:
        for body in json.loads((folder / "requests.json").read_text()):
            start = time.perf_counter()
            status, text = ask(port, body)
            seconds = time.perf_counter() - start
            print(json.dumps([status, seconds, text, read_peak()]), file=stream)


def ask(port: int, body: str) -> tuple[int, str]:
    """Send a body, each on a connection of its own; status 0 says that no answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/v2/models/tokens/infer", body.encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def wait(port: int) -> None:
    """Wait until the server is ready."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def read_peak() -> int:
    """Return the most memory that the container's first process had, in KiB."""
    return int(Path("/proc/1/status").read_text().split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
