"""The last lines of a build, those to keep: what was made, how good it is, and the commands that run it and ask it."""

import json
import math
import shlex
from typing import TYPE_CHECKING, Any

from onnxpack.core.text import format_bytes, format_table, format_time, plural

if TYPE_CHECKING:
    from onnxpack.pipeline.plan import Plan
    from onnxpack.pipeline.report import Attempt

_MOST_NUMBERS = 32
"""How many numbers a request on the command line may hold; a picture has thousands, and nobody would read them."""


def summarize(attempt: "Attempt", elapsed: float) -> list[str]:
    """Return the lines about an attempt that passed; ``elapsed`` are its seconds on the clock."""
    from onnxpack.pipeline.attempt import show_path

    plan, product = attempt.plan, attempt.product
    model, image, parity, scored = product.model, product.image, product.parity, product.evaluation
    assert model
    rows: list[tuple[str, str]] = []
    if image:
        own = sum(layer.size_bytes for layer in image.layers[len(product.base.layers) if product.base else 0 :])
        rows.append(("image", ", ".join(product.references)))
        rows += [("pushed", product.pushed)] if product.pushed else []
        if product.reproduction:
            rows.append(("again", f"a second build gave the same {product.reproduction.compared}"))
        rows.append(("size", f"{format_bytes(image.size_bytes)}, {format_bytes(own)} of it on the base {plan.base}"))
    else:
        rows.append(("context" if product.context else "model file", show_path(plan.result(attempt.until))))
    if needless := [package.name for package in product.distributions if not package.kept]:
        rows.append(("left out", f"{', '.join(needless)}: this model needs none of it"))
    rows.append(("model", f"opset {model.opset}, {model.precision}, {format_bytes(model.size_bytes)}"))
    if parity:
        worst = f"max abs {parity.max_abs_diff:.2g}, max rel {parity.max_rel_diff:.2g}"
        rows.append(("parity", f"{plural(parity.comparisons, 'comparison')} within tolerance: {worst}"))
    if scored:
        rows.append(("score", f"{scored.metric} {scored.model:.6g}; the source model has {scored.source:.6g}"))
    if smoke := product.smoke:
        times = (
            ("ready after", smoke.ready_seconds),
            ("first answer after", smoke.first_answer_seconds),
            ("median request", smoke.latency_p50_seconds),
        )
        words = [f"{title} {format_time(value)}" for title, value in times if value is not None]
        words += [f"peak memory {format_bytes(smoke.peak_rss_bytes)}"] if smoke.peak_rss_bytes else []
        if smoke.soak and smoke.soak.growth_bytes is not None:
            words.append(f"growth {format_bytes(smoke.soak.growth_bytes)} in {plural(smoke.soak.requests, 'request')}")
        shown = ", ".join(words) or "the image refuses to serve without its GPU"
        how = f"{smoke.runtime}, emulated" if smoke.emulated else smoke.runtime
        rows.append(("smoke test", f"in {how}: {shown}"))
    rows.append(("time", f"{elapsed:.1f} s"))
    return [f"  {line}" for line in [*format_table(rows), *_commands(attempt)]]


def _commands(attempt: "Attempt") -> list[str]:
    """Return commands that can be copied: one that makes the image if need be, one that runs it, one that asks it."""
    from onnxpack.pipeline.attempt import show_path

    plan, context = attempt.plan, attempt.product.context
    if context is None:
        return []
    name = plan.tags(context.version, context.content_key)[0]
    found = []
    if attempt.product.image is None:
        found.append(f"docker build -t {name} {shlex.quote(show_path(plan.result(attempt.until)))}")
    if archive := attempt.product.archive:
        found += [f"onnxpack run {shlex.quote(show_path(plan.output))}"] if plan.ports else []
        found.append(f"docker load -i {shlex.quote(show_path(plan.output / archive))}")
    gpu = "--gpus all " if plan.device.name == "cuda" else ""
    if not plan.ports:
        return [*found, f'docker run --rm --read-only {gpu}-v "$PWD:/data" {name} --input /data/x.npz']
    url = f"localhost:{plan.ports[0]}/v2/models/{plan.file.spec.name}"
    request = _request(plan)
    ask = f"curl -s {url}"  # what the model takes and gives
    if request:
        ask = f"curl -s {url}/infer -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(request))}"
    published = " ".join(f"-p {port}:{port}" for port in plan.ports)
    return [*found, f"docker run --rm --read-only {gpu}{published} {name}", ask]


def _request(plan: "Plan") -> dict[str, Any] | None:
    """Return a request of the smallest sizes with values that the spec allows; None if it would be too long to read."""
    from onnxpack.bundle.views import DATATYPES
    from onnxpack.data.test_inputs import draw, resolve_shape
    from onnxpack.spec.client import make_client_spec

    spec = make_client_spec(plan.file.spec)
    sizes = {axis.name: max(axis.min, 1) for axis in spec.axes}
    shapes = {name: resolve_shape(tensor, sizes) for name, tensor in spec.inputs.items()}
    if sum(map(math.prod, shapes.values())) > _MOST_NUMBERS:
        return None
    arrays = draw(spec, sizes, 0)
    inputs = [
        {
            "name": name,
            "shape": list(shapes[name]),
            "datatype": DATATYPES[tensor.dtype],
            "data": _shorten(arrays[name].tolist()),
        }
        for name, tensor in spec.inputs.items()
    ]
    return {"inputs": inputs}


def _shorten(value: Any) -> Any:
    """Return nested lists with floats of three digits: more would only make the line longer."""
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value
