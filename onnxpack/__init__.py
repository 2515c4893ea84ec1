"""One YAML file in; a small, verified, reproducible container image that serves the model out.

::

    import onnxpack

    spec = onnxpack.load("specs/iris/spec.yaml")
    plan = onnxpack.plan(spec)
    print(onnxpack.verify(plan).max_abs_diff)
    print(onnxpack.build(plan, until="bundle").plan.output)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxpack.pipeline.api import build, load, plan, verify

__version__ = "0.1.0"
__all__ = ["build", "load", "plan", "verify"]


def __getattr__(name: str) -> Any:
    """Import the public functions when they are asked for: every module of this package imports this one."""
    if name not in __all__:
        raise AttributeError(f"module 'onnxpack' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module("onnxpack.pipeline.api"), name)
