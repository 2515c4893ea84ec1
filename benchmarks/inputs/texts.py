"""Compare the tokens that images make with those of training: ``benchmarks/inputs/texts.py --strings 10000 --base B``.

For each kind of tokenizer an image is built, without a daemon, whose model answers with the ids that it is given.
Seeded strings of every script go to it over HTTP, with requests between them that are wrong. Ids must be those that
`tokenizers` gives here, no answer may be a 5xx, and memory is bounded; else the exit status is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from tokenizing import KINDS, write_tokenizer  # noqa: E402

from onnxpack.image import load_engine  # noqa: E402
from onnxpack.image.engine import VOLUME  # noqa: E402
from onnxpack.intake.reference import load_texts  # noqa: E402
from onnxpack.intake.strings import draw_strings  # noqa: E402
from onnxpack.intake.texts import TextReference  # noqa: E402
from onnxpack.spec.intakes import list_intakes  # noqa: E402
from onnxpack.spec.load import load  # noqa: E402

FIGURES = Path(__file__).with_name("texts.json")
PORT = 8080
MOST_TOKENS = 128
MOST_ROWS = 32
BAD_EVERY = 5
"""After so many requests one comes that is wrong, or far too large."""
MOST_MEMORY = 2 * 2**30
HALF = '{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud83d"]}]}'


@dataclass(frozen=True)
class Figures:
    """What came of one kind of tokenizer."""

    kind: str
    strings: int
    tokens: int
    different: int
    refused: int
    """Of the wrong requests, all by a 4xx."""
    failed: int
    """The answers that were a 5xx, or none."""
    slowest_seconds: float
    peak_mib: int


@dataclass(frozen=True)
class Request:
    """A body, and the ids that its texts have in training; None where it must be refused."""

    body: str
    ids: list[list[int]] | None


def write_project(folder: Path, kind: str) -> Path:
    """Write a spec whose model answers with the ids and the mask that it is given."""
    write_tokenizer(folder, kind)
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "ids", "mask")
    ]
    nodes = [
        helper.make_node("Identity", [given], [made])
        for given, made in (("input_ids", "ids"), ("attention_mask", "mask"))
    ]
    graph = helper.make_graph(nodes, "tokens", values[:2], values[2:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    tensor = {"dtype": "int64", "shape": ["batch", "tokens"]}
    spec = {
        "onnxpack": 1,
        "name": "tokens",
        "version": kind,
        "model": {"framework": "onnx", "path": "model.onnx"},
        "inputs": {"input_ids": tensor, "attention_mask": tensor},
        "dynamic_axes": {"batch": [1, MOST_ROWS], "tokens": [1, MOST_TOKENS]},
        "opset": 18,
        "preprocess": [{"op": "tokenize", "input": "text", "tokenizer": "tokenizer.json"}],
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec, indent=1))
    return path


def make_requests(reference: TextReference, count: int, seed: int) -> Iterator[Request]:
    """Make requests of ``count`` strings together, and wrong ones between them."""
    generator = np.random.default_rng(seed)
    strings = list(draw_strings(count, seed))
    bad = list(list_bad())
    number = start = 0
    while start < count:
        rows = strings[start : start + int(generator.integers(1, MOST_ROWS + 1))]
        arrays = reference.tokenize(rows, None)
        assert arrays
        yield Request(make_body(rows), arrays["input_ids"].tolist())
        start += len(rows)
        number += 1
        if number % BAD_EVERY == 0:
            yield Request(bad[number // BAD_EVERY % len(bad)], None)


def make_body(texts: Sequence[str]) -> str:
    """Make a request of the Open Inference Protocol."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return json.dumps({"inputs": [tensor]})


def list_bad() -> Iterator[str]:
    """Yield requests that must be refused: half characters, no texts, too many or too long ones, and half a body."""
    yield HALF
    yield make_body(["\ud800 and more"])
    yield make_body(["\u4f60" * 100_000])
    yield make_body(["a" * 125_000] * 16)
    yield make_body(["\ufdfa" * 43_000] * 32)
    yield make_body([])
    yield make_body(["a"] * (MOST_ROWS + 1))
    for data in ([1], [None], [["a"]], [{"a": "b"}], "a", {}, None, [True]):
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": data}
        yield json.dumps({"inputs": [tensor]})
    yield make_body(["a" * 1000])[:500]
    yield make_body(["a"]).replace("text", "input_ids")
    yield make_body(["a"]).replace("BYTES", "INT64")
    yield '{"inputs": ' + "[" * 50_000


def build(spec: Path, base: str, output: Path) -> str:
    """Build the image without a daemon, and return its name."""
    command = [sys.executable, "-m", "onnxpack", "build", str(spec), "--engine", "oci", "--base", base]
    done = subprocess.run([*command, "--output", str(output)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()[-1]


def send(image: str, requests: Sequence[Request]) -> list[tuple[int, float, str, int]]:
    """Send requests to a container of the image, from within, and return what came."""
    files = {
        "client.py": Path(__file__).with_name("text_client.py").read_bytes(),
        "requests.json": json.dumps([request.body for request in requests]).encode(),
    }
    with load_engine("oci").container(image, files) as box:
        box.start()
        status, _, words = box.execute(["python3", f"{VOLUME}/client.py", VOLUME, str(PORT)])
        if status:
            raise SystemExit(f"the client failed: {words[-2000:]}\n{box.output()[1][-2000:]}")
        lines = box.fetch("out")["answers.jsonl"].decode().splitlines()
    return [tuple(json.loads(line)) for line in lines]


def judge(kind: str, requests: Sequence[Request], answers: Sequence[tuple[int, float, str, int]]) -> Figures:
    """Count what is as it should be, and tell the first that is not."""
    strings = tokens = different = refused = failed = 0
    for number, (request, (status, _, text, _)) in enumerate(zip(requests, answers, strict=True)):
        if not 200 <= status < 500:
            failed += 1
            print(f"{kind}, request {number}: {status} {text[:300]}", file=sys.stderr)
        elif request.ids is None:
            refused += status >= 400
            different += status < 400
            if status < 400:
                print(f"{kind}, request {number} was answered: {request.body[:200]}", file=sys.stderr)
        else:
            found = read_ids(text) if status == 200 else []
            strings += len(request.ids)
            tokens += sum(map(len, request.ids))
            if found != request.ids:
                different += 1
                print(f"{kind}, request {number}: {status} {text[:300]} for {request.body[:300]}", file=sys.stderr)
    slowest, peak = max(answer[1] for answer in answers), max(answer[3] for answer in answers)
    return Figures(kind, strings, tokens, different, refused, failed, round(slowest, 2), peak >> 10)


def read_ids(text: str) -> list[list[int]]:
    """Return the rows of ids in an answer."""
    output: dict[str, Any] = next(one for one in json.loads(text)["outputs"] if one["name"] == "ids")
    rows: list[list[int]] = np.array(output["data"], np.int64).reshape(output["shape"]).tolist()
    return rows


def measure(kind: str, strings: int, seed: int, base: str) -> Figures:
    """Build, ask and judge one kind of tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        spec = load(write_project(Path(folder), kind))
        reference = load_texts(spec, list_intakes(spec.spec)[0])
        requests = list(make_requests(reference, strings, seed))
        image = build(spec.path, base, Path(folder, "dist"))
        return judge(kind, requests, send(image, requests))


def main() -> int:
    """Measure every kind, write the figures, and return 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--strings", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--base", required=True, help="the base image as an archive; scripts/base makes one")
    arguments = parser.parse_args()
    found = [measure(kind, arguments.strings, arguments.seed, arguments.base) for kind in arguments.kinds]
    for figures in found:
        print(figures)
    if arguments.strings >= 10_000:
        FIGURES.write_text(json.dumps([asdict(figures) for figures in found], indent=1) + "\n")
    good = all(not one.different and not one.failed and one.peak_mib << 20 < MOST_MEMORY for one in found)
    return 0 if good else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
