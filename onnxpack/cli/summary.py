"""The last lines of a build, those to keep: what was made, how good it is, and the commands that run it and ask it."""

from pathlib import PurePath
from typing import TYPE_CHECKING

from onnxpack.core.text import format_bytes, format_table, format_time, plural

if TYPE_CHECKING:
    from onnxpack.pipeline.report import Attempt


def summarize(attempt: "Attempt", elapsed: float) -> list[str]:
    """Return the lines about an attempt that passed; ``elapsed`` are its seconds on the clock."""
    from onnxpack.pipeline.attempt import show_path
    from onnxpack.pipeline.report import describe_attempt
    from onnxpack.reports.commands import list_commands

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
        if smoke.load:
            words.append(f"{smoke.load.capacity:,.0f} requests/s at most")
        shown = ", ".join(words) or "the image refuses to serve without its GPU"
        how = f"{smoke.runtime}, emulated" if smoke.emulated else smoke.runtime
        rows.append(("smoke test", f"in {how}: {shown}"))
    rows.append(("time", f"{elapsed:.1f} s"))
    commands = [command.line for command in list_commands(describe_attempt(attempt), PurePath(show_path(plan.output)))]
    return [f"  {line}" for line in [*format_table(rows), *commands]]
