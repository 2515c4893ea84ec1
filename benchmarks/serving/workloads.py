"""The models that are served, each with one input, the answer that is right, and the requests that ask for it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read by the import of onnxruntime

import numpy as np
import onnxruntime
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LOCK = ROOT / "specs/iris/spec.lock"
"""What an image of any of these needs: the specs of this folder have no lock of their own."""
BATCHING = "\nruntime:\n"
DATATYPES = {"float32": "FP32", "int64": "INT64"}
JSON, BINARY = "JSON", "binary"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """A model with the server that the working tree renders for it, and the packages that its image has."""

    name: str
    app: Path
    packages: Path
    complete: bool = True
    """Whether the working tree supports all that its spec asks for."""

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.app / "model.onnx"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        paths = {"PYTHONPATH": f"{self.app}:{self.packages}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
        return paths | {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": os.environ["PATH"]}


@dataclass(frozen=True)
class Workload:
    """One input of a model, as arrays, and what must come out."""

    title: str
    bundle: Bundle
    inputs: Arrays
    expected: Arrays

    def write_body(self, form: str) -> tuple[bytes, int]:
        """Return a request's body, and the length of the JSON in it."""
        items: list[dict[str, Any]] = []
        tail = b""
        for name, array in self.inputs.items():
            item: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}
            if form == BINARY:
                item["parameters"] = {"binary_data_size": array.nbytes}
                tail += array.tobytes()
            elif array.dtype.kind == "f":  # as many digits as a float32 has
                item["data"] = [float(f"{value:.7g}") for value in array.flat]
            else:
                item["data"] = array.ravel().tolist()
            items.append(item)
        document: dict[str, Any] = {"inputs": items}
        if form == BINARY:
            document["parameters"] = {"binary_data_output": True}
        head = json.dumps(document, separators=(",", ":")).encode()
        return head + tail, len(head)

    def write_request(self, form: str, path: str) -> bytes:
        """Return the bytes of a whole request."""
        body, length = self.write_body(form)
        kind = "application/json" if form == JSON else "application/octet-stream"
        extra = "" if form == JSON else f"Inference-Header-Content-Length: {length}\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{extra}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def check_answer(self, body: bytes, json_length: int) -> str:
        """Say what is wrong with an answer's numbers; an empty text if they are right."""
        found = {}
        at = json_length
        for item in json.loads(body[:json_length])["outputs"]:
            wanted = self.expected[item["name"]]
            if size := (item.get("parameters") or {}).get("binary_data_size"):
                values = np.frombuffer(body[at : at + size], wanted.dtype)
                at += size
            else:
                values = np.array(item["data"], wanted.dtype)
            found[item["name"]] = values.ravel()  # MLServer makes a column of each vector
        for name, wanted in self.expected.items():
            if name not in found or found[name].size != wanted.size:
                return f"output {name!r} is missing or has another size"
            if not np.allclose(found[name], wanted.ravel(), rtol=1e-4, atol=1e-5):
                return f"output {name!r} has other numbers than session.run gives"
        return ""


@cache
def build_bundle(spec: Path, folder: Path) -> Bundle:
    """Build a spec up to its bundle, with what the user's cache has of it."""
    if spec.is_relative_to(HERE):
        spec = shutil.copytree(spec, folder / "specs" / spec.name, dirs_exist_ok=True)
        shutil.copy(LOCK, spec)
    output = folder / "dist" / spec.name
    command = [sys.executable, "-m", "onnxpack", "build", str(spec), "--until", "bundle", "--engine", "none"]
    command += ["--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    complete = "is not supported yet" not in done.stderr
    if not complete:  # measured without, so that the gap shows
        file = spec / "spec.yaml"
        head, mark, tail = file.read_text().partition(BATCHING)
        file.write_text(head + "\n" + tail.partition("\n\n")[2] if mark else head)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{spec} cannot be built:\n{done.stderr}")
    app = next(output.glob("**/server.py")).parent
    packages = next(output.glob("**/onnxruntime/capi")).parents[1]
    return Bundle(spec.name, app, packages, complete)


def make_workload(title: str, bundle: Bundle, inputs: Arrays) -> Workload:
    """Run the model here, for the answer that is right."""
    session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return Workload(title, bundle, inputs, dict(zip(names, session.run(names, inputs), strict=True)))


def make_iris(rows: int) -> Arrays:
    """Make flowers within the ranges of the data set."""
    low, high = np.array([4.3, 2.0, 1.0, 0.1]), np.array([7.9, 4.4, 6.9, 2.5])
    values = np.random.default_rng(7).uniform(low, high, (rows, 4))
    return {"float_input": values.astype(np.float32)}


def make_transactions(length: int) -> Arrays:
    """Make one account with so many transactions."""
    rng = np.random.default_rng(7)
    return {
        "dates": rng.integers(1_420_070_400, 1_893_456_000, (1, length)),
        "input_ids": rng.integers(0, 40000, (1, length, 20)),
        "amounts": rng.uniform(0, 5000, (1, length)).astype(np.float32),
    }


def make_image(size: int) -> Arrays:
    """Make a picture of noise."""
    return {"image": np.random.default_rng(7).uniform(0, 1, (1, 3, size, size)).astype(np.float32)}


def make_features() -> Arrays:
    """Make one row for the dense network."""
    return {"features": np.random.default_rng(7).uniform(-1, 1, (1, 16)).astype(np.float32)}
