"""Throws bodies that nobody would send at ``/predict`` of servers of all kinds, and floods them, and writes figures.

    .venv/bin/python benchmarks/inputs/predict.py [--bodies 10000] [--seed 0] [--write]

Each server runs in a process of its own, without an image. No answer may have a status of 500 or above but 503, none
may take long, and the memory of the process is bounded. A body that breaks a rule is named by its seed, and the exit
status is 1. With --write the figures go into docs/serving.md.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers"), str(ROOT / "scripts")]

from bundle_examples import write_app  # noqa: E402
from common import replace_made  # noqa: E402
from PIL import Image  # noqa: E402
from serving import Server, serving  # noqa: E402
from strange_bodies import list_examples, make_form, make_question  # noqa: E402

MODELS = ("iris", "transactions", "odd", "table", "declared", "pictures", "sentence")
VALUES = {"declared": {"city": ("Lima",), "joined": (19_000,)}}  # what examples hold
PAGE = ROOT / "docs/serving.md"
PATIENCE = 30.0  # seconds for an answer
CLIENTS = 200
MIB = 2**20


@dataclass
class Tally:
    """What came of the bodies that one server was sent."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


def make_picture(side: int, seed: int = 0) -> bytes:
    """Make a PNG of noise, which no format makes small."""
    noise = random.Random(seed).randbytes(3 * side * side)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(file, "PNG", compress_level=0)
    return file.getvalue()


def ask(connection: HTTPConnection, body: bytes, headers: dict[str, str]) -> int:
    """Send a body, read the answer, and return its status."""
    connection.request("POST", "/predict", body, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def throw(server: Server, model: str, bodies: int, seed: int) -> Tally:
    """Send a server strange bodies, one after the other."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/openapi.json")
        examples = list_examples(json.loads(connection.getresponse().read()))
    if model == "pictures":
        picture = make_picture(20)
        form = make_form([("image", "x.png", "image/png", picture)])
        examples += [("image/png", picture), ("multipart/form-data; boundary=B", form)]
    tally = Tally()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    for number in range(bodies):
        name = f"{model} {seed} {number}"
        body, headers = make_question(name, examples)
        began = time.monotonic()
        try:
            status = ask(connection, body, headers)
        except (OSError, HTTPException) as error:
            tally.failures.append(f"{name}: {type(error).__name__}: {error}")
            connection.close()
            continue
        tally.slowest = max(tally.slowest, time.monotonic() - began)
        tally.statuses[status] += 1
        if status >= 500:
            tally.failures.append(f"{name}: status {status}")
    connection.close()
    return tally


def flood(server: Server, body: bytes) -> Counter[int | str]:
    """Let many connections send a body at once; return how many got which status."""
    found: Counter[int | str] = Counter()
    lock = threading.Lock()

    def send() -> None:
        outcome: int | str
        try:
            with closing(HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
                outcome = ask(connection, body, {"Content-Type": "image/png"})
        except (OSError, HTTPException) as error:  # refused while the body was still on its way
            outcome = type(error).__name__
        with lock:
            found[outcome] += 1

    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> int:
    """Throw, flood, print, and say whether all rules were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=10_000, help="of all models together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    rows = [["model", "answered", "refused", "slowest answer, ms", "memory before, MiB", "peak, MiB"]]
    failures: list[str] = []
    lines: list[str] = []
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            write_app(Path(folder), model, server="http", values=VALUES.get(model, {}))
            with serving(Path(folder)) as server:
                before = server.memory_peak()
                tally = throw(server, model, -(-arguments.bodies // len(MODELS)), arguments.seed)
                failures += tally.failures
                refused = sum(count for status, count in tally.statuses.items() if 400 <= status < 500)
                peak = server.memory_peak()
                figures = [tally.statuses[200], refused, round(1000 * tally.slowest), before // MIB, peak // MIB]
                rows.append([model, *map(str, figures)])
                if model == "pictures":
                    found = flood(server, make_picture(590))
                    told = ", ".join(f"{count} of {word}" for word, count in sorted(found.items(), key=str))
                    peak = server.memory_peak() // MIB
                    lines.append(
                        f"{CLIENTS} connections that send a picture of 1 MiB at once: {told}; peak {peak} MiB."
                    )
                    if set(found) - {200, 503, "ConnectionResetError", "BrokenPipeError"}:
                        failures.append(f"flood: {found}")
                if server.ask("GET", "/v2/health/ready")[0] != 200:
                    failures.append(f"{model}: not ready any more")
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    text = "\n".join([head, "|---" * len(rows[0]) + "|", *body, "", *lines, ""])
    print(text)
    print("\n".join(failures), file=sys.stderr)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replace_made(page, "benchmarks/inputs/predict.py", text), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
