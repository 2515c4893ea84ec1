"""Kustomize: the resources of a Deployment, and a kustomization that names their image by its digest."""

from onnxpack.deploy.formats import Manifests, Wanted
from onnxpack.deploy.render import render
from onnxpack.deploy.views import make_view

TITLE = "a Deployment with all that belongs to it, as a base for overlays"
_RESOURCES = (
    "serviceaccount.yaml",
    "deployment.yaml",
    "service.yaml",
    "horizontalpodautoscaler.yaml",
    "poddisruptionbudget.yaml",
    "networkpolicy.yaml",
)


def make(wanted: Wanted) -> Manifests:
    """Return the files of one kustomization."""
    view = make_view(wanted.build, wanted.sizing, wanted.image)
    texts = {name: render(name, view=view) for name in _RESOURCES}
    texts["kustomization.yaml"] = render("kustomization.yaml", view=view, resources=_RESOURCES)
    return Manifests(view.name, texts, {})
