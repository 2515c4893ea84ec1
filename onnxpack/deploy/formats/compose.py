"""Docker Compose: one container on one machine."""

from onnxpack.deploy.formats import Manifests, Wanted
from onnxpack.deploy.render import render
from onnxpack.deploy.views import make_view

TITLE = "one container on one machine"
_FILE = "compose.yaml"


def make(wanted: Wanted) -> Manifests:
    """Return the file."""
    view = make_view(wanted.build, wanted.sizing, wanted.image)
    return Manifests(view.name, {_FILE: render(_FILE, view=view)}, {})
