"""The stage ``push``: the image that passed its test → its names in a registry, and the digest that it has there."""

import time
from dataclasses import replace

from onnxpack.core.errors import Problem, SpecError
from onnxpack.oci.reference import DEFAULT_REGISTRY, parse_reference
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build, Product


def push(run: Build, product: Product) -> Product:
    """Push the image under all of its names; what is there already is not sent again.

    Raises:
        EngineError: the registry refuses it, cannot be reached, or has something else afterwards.
    """
    from onnxpack.oci.push import push as push_image  # a client of HTTP, which takes a while to import

    assert product.image
    started = time.monotonic()
    layout, entry = run.engine.export(product.image.id, run.compression)
    references = [parse_reference(name) for name in product.references]
    with run.progress.stage("push"):
        digest = push_image(layout, entry, references, run.progress)
    run.runner.record("push", "", started, digest, cached=False)
    return replace(product, pushed=f"{references[0].name}@{digest}")


def require_registry(plan: Plan) -> None:
    """Make sure that the image's name says where it is pushed to: a bare word would be somebody else's image.

    Raises:
        SpecError: it does not.
    """
    repository = plan.file.spec.image.repository
    if repository is None or ("/" not in repository and parse_reference(repository).registry == DEFAULT_REGISTRY):
        text = "--push needs to know the registry"
        hint = "set `repository` in `image` to one such as registry.example.com/team/name"
        raise SpecError(Problem(text, hint, plan.file.where("image", "repository")))
