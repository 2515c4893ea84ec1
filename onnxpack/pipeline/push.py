"""The stage ``push``: the image that passed its test → its names in a registry, and the digest that it has there."""

import time
from collections.abc import Sequence
from dataclasses import replace

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product


def push(run: Build, product: Product) -> Product:
    """Push the image under all of its names; what is there already is not sent again.

    Raises:
        EngineError: the registry refuses it, cannot be reached, or has something else afterwards.
    """
    from onnxpack.image.deliver import push_image, read_destinations  # a client of HTTP: slow to import

    assert product.image
    started = time.monotonic()
    names, digest = product.references, product.image.digest
    there = digest is not None and _is_there(digest, names)
    if there:
        run.progress.skip("push", "unchanged")
        pushed = f"{read_destinations(names)[0].name}@{digest}"
    else:
        (pushed,) = push_image(run.engine, product.image.id, names, run.progress, compression=run.compression)
    run.runner.record("push", "", started, pushed.partition("@")[2], cached=there)
    return replace(product, pushed=pushed)


def _is_there(digest: str, names: Sequence[str]) -> bool:
    """Return whether a registry has an image under all names; what is wrong with the registry a push tells."""
    from onnxpack.image.deliver import is_pushed

    try:
        return is_pushed(digest, names)
    except EngineError:
        return False


def require_registry(plan: Plan) -> None:
    """Make sure that the image's name says where it is pushed to: a bare word would be somebody else's image.

    Raises:
        SpecError: it does not.
    """
    from onnxpack.image.deliver import read_destinations

    image = plan.file.spec.image
    try:
        read_destinations([image.repository or plan.file.spec.name])
    except SpecError as error:
        raise error.at(plan.file.where("image", "repository")) from None
