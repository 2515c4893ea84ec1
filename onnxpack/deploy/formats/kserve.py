"""KServe: an InferenceService with a custom predictor."""

from onnxpack.deploy.formats import Manifests, Wanted
from onnxpack.deploy.render import render
from onnxpack.deploy.views import make_view

TITLE = "an InferenceService with a custom predictor"
_FILE = "inferenceservice.yaml"


def make(wanted: Wanted) -> Manifests:
    """Return the file."""
    view = make_view(wanted.build, wanted.sizing, wanted.image)
    return Manifests(view.name, {_FILE: render(_FILE, view=view)}, {})
