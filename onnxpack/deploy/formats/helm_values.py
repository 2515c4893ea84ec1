"""Helm: values for a chart with the keys of `helm create`."""

from onnxpack.deploy.formats import Manifests, Wanted
from onnxpack.deploy.render import render
from onnxpack.deploy.views import make_view

TITLE = "values for a chart with the keys of `helm create`"
_FILE = "values.yaml"


def make(wanted: Wanted) -> Manifests:
    """Return the file."""
    view = make_view(wanted.build, wanted.sizing, wanted.image)
    return Manifests(view.name, {_FILE: render(_FILE, view=view)}, {})
