"""A base is pinned by what its registry says."""

from dataclasses import replace
from pathlib import Path

import pytest
from registries import add_image, running_registry
from told import Told

from onnxpack.bundle.base import find_base
from onnxpack.bundle.lock import LockedBase
from onnxpack.core.errors import EngineError
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Index, parse_platform
from onnxpack.oci.push import push_index
from onnxpack.oci.reference import parse_reference


def test_the_digest_of_an_index_is_found(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "images")
    index = Index((replace(add_image(layout, 70), platform=parse_platform("linux/amd64")),))
    with running_registry(tmp_path / "registry") as served:
        name = f"{served.host}/bases/python:3.11"
        digest = push_index(layout, index, [parse_reference(name)], Told())
        assert find_base(name, "linux/amd64") == LockedBase(name, digest)
        with pytest.raises(EngineError, match="is not for linux/arm64"):
            find_base(name, "linux/arm64")
