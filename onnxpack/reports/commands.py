"""The commands that make, load, run and ask what a build left, made of the values of its report."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from onnxpack.bundle.views import DATATYPES, EXAMPLE_TEXT
from onnxpack.data.test_inputs import draw
from onnxpack.spec.intakes import list_client_inputs, list_intakes
from onnxpack.spec.model import Spec
from onnxpack.spec.picture_rules import DEFAULT_FORMATS
from onnxpack.spec.served import make_served_spec

_MOST_NUMBERS = 32
"""How many numbers a request on the command line may hold; a picture has thousands, and nobody would read them."""


@dataclass(frozen=True)
class Command:
    """A command that can be copied, and in a few words what it is for."""

    purpose: str
    line: str


def list_commands(report: Mapping[str, Any], folder: PurePath) -> list[Command]:
    """Return the commands for what a report's build left in ``folder``; none where it left nothing that runs.

    Raises:
        LookupError: a report that no build wrote.
        TypeError: the same.
    """
    serving, image = report.get("serving"), report.get("image")
    if not serving:
        return []
    name, ports = shlex.quote(serving["image"]), serving["ports"]
    found = []
    if not image:
        context = shlex.quote(str(folder / "context"))
        found.append(Command("Make the image", f"docker build -t {name} {context}"))
    elif archive := image.get("archive"):
        if ports:
            found.append(Command("Serve it here, without Docker", f"onnxpack run {shlex.quote(str(folder))}"))
        found.append(Command("Give the image to Docker", f"docker load -i {shlex.quote(str(folder / archive))}"))
    gpu = "--gpus all " if serving["gpu"] else ""
    if not ports:
        line = f'docker run --rm --read-only {gpu}-v "$PWD:/data" {name} --input /data/x.npz'
        return [*found, Command("Predict from a file", line)]
    published = " ".join(f"-p {port}:{port}" for port in ports)
    found.append(Command("Serve it with Docker", f"docker run --rm --read-only {gpu}{published} {name}"))
    address = f"localhost:{ports[0]}"
    if kind := serving.get("picture"):
        file = f"picture.{kind.partition('/')[2]}"
        line = f"curl -s {address}/predict -H 'Content-Type: {kind}' --data-binary @{file}"
        return [*found, Command("Ask it about a picture", line)]
    return [*found, _ask(f"{address}/v2/models/{report['name']}", serving["request"])]


def _ask(url: str, request: Any) -> Command:
    if not request:
        return Command("See what it takes and gives", f"curl -s {shlex.quote(url)}")
    data = shlex.quote(json.dumps(request))
    line = f"curl -s {shlex.quote(f'{url}/infer')} -H 'Content-Type: application/json' -d {data}"
    return Command("Ask it", line)


def make_request(spec: Spec) -> dict[str, Any] | None:
    """Return a request of the smallest sizes with values that the spec allows; None if it would be too long to read."""
    client, infos = make_served_spec(spec), list_client_inputs(spec)
    sizes = {axis.name: max(axis.min, 1) for axis in client.axes}
    shapes = {info.name: [sizes[size] if isinstance(size, str) else size for size in info.shape] for info in infos}
    if sum(map(math.prod, shapes.values())) > _MOST_NUMBERS or any(info.dtype == "bytes" for info in infos):
        return None
    arrays = draw(client, sizes, 0)
    inputs = [
        {
            "name": info.name,
            "shape": shapes[info.name],
            "datatype": DATATYPES[info.dtype],
            "data": _shorten(arrays[info.name].tolist())
            if info.name in arrays
            else [EXAMPLE_TEXT] * math.prod(shapes[info.name]),
        }
        for info in infos
    ]
    return {"inputs": inputs}


def name_picture(spec: Spec) -> str | None:
    """Return the media type of a picture that is all a client sends; None where it sends anything else."""
    infos, intakes = list_client_inputs(spec), list_intakes(spec)
    if len(infos) != 1 or infos[0].dtype != "bytes":
        return None
    return f"image/{(intakes[0].steps[0].formats or DEFAULT_FORMATS)[0]}"


def _shorten(value: Any) -> Any:
    """Return nested lists with floats of three digits: more would only make the line longer."""
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if value != value:  # JSON has no number for it
        return "NaN"
    return float(f"{value:.3g}") if isinstance(value, float) else value
