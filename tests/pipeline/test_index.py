"""Images of several platforms get one name where it can stand for nothing else."""

from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec

from onnxpack.pipeline.index import list_joined, name_joined
from onnxpack.spec.model import Spec

ARM = {"platform": "linux/arm64"}
CUDA = {"device": "cuda"}


def read(folder: Path, targets: dict[str, Any], **fields: Any) -> Spec:
    (folder / "m.onnx").touch()
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, targets=targets, **fields).spec


@pytest.mark.parametrize(
    ("targets", "joined"),
    [
        ({"cpu": {}}, ()),
        ({"arm": ARM}, ()),
        ({"cpu": {}, "arm": ARM}, ("cpu", "arm")),
        ({"arm": ARM, "gpu": CUDA, "cpu": {}}, ("arm", "cpu")),
        ({"cpu": {}, "gpu": CUDA}, ()),
        ({"cpu": {}, "small": {"precision": "float16"}}, ()),
        ({"cpu": {}, "small": {"precision": "float16"}, "arm": ARM}, ()),
    ],
)
def test_targets_are_joined_where_each_platform_has_one(
    tmp_path: Path, targets: dict[str, Any], joined: tuple[str, ...]
) -> None:
    spec = read(tmp_path, targets, version="1.0")
    assert list_joined(spec) == joined
    assert name_joined(spec) == ("example:1.0" if joined else None)


def test_the_name_is_the_repository_with_the_version(tmp_path: Path) -> None:
    targets, image = {"cpu": {}, "arm": ARM}, {"repository": "registry.example.com:5000/team/iris"}
    spec = read(tmp_path, targets, image=image, version="2.1")
    assert name_joined(spec) == "registry.example.com:5000/team/iris:2.1"
    assert name_joined(read(tmp_path, targets, image=image)) is None
