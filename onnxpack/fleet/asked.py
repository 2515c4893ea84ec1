"""Says what a build is asked in the form that its receipt is found by."""

from onnxpack.fleet.job import Options
from onnxpack.pipeline.receipts import Asked


def describe_asked(options: Options, spec: str) -> Asked:
    """Return what the receipts of a spec's builds are found by; ``spec`` is its absolute path, links followed."""
    return Asked(
        spec, str(options.output), options.settings, options.trust, options.sandbox, options.until, options.engine,
        str(options.base.absolute()) if options.base else None, options.compression, options.budget,
        options.require_gates, options.reproduce, options.push, str(options.vendor) if options.vendor else None,
    )  # fmt: skip
