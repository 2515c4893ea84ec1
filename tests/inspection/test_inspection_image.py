"""An image tells where it comes from, whether an engine without a daemon has it or an archive."""

from pathlib import Path

import pytest
from small_images import BASE, make_context, save_base

from onnxpack.core.errors import SpecError
from onnxpack.image.engine import BuildRequest, Image
from onnxpack.image.oci import OciEngine
from onnxpack.inspection.image import archive_facts, image_facts


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """An image of the engine that is taken where no daemon is, also in an archive."""
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr("onnxpack.inspection.image.choose_engine", lambda: "oci")
    engine = OciEngine()
    base = engine.add_base(save_base(tmp_path / "base.tar"), BASE, "linux/amd64")
    made = engine.build(BuildRequest(make_context(tmp_path / "context"), base, "iris:1", "gzip"))
    engine.tag(made.id, "iris:1")
    engine.leave(made.id, ["iris:1"], tmp_path)
    return made


def test_an_archive_tells_the_same_as_the_engine(image: Image, tmp_path: Path) -> None:
    kept, left = image_facts("iris:1"), archive_facts(tmp_path / "image.tar")
    assert kept | {"reference": ""} == left | {"reference": ""}
    assert kept["id"] == image.id
    assert kept["names"] == ["iris:1"]
    assert kept["platform"] == "linux/amd64"
    assert kept["entrypoint"] == ["python3", "-m", "server"]
    assert kept["ports"] == ["8080/tcp"]
    assert kept["env"]["PYTHONSAFEPATH"] == "1"
    assert [layer["size_bytes"] for layer in kept["layers"]] == [3, 5, 5]


def test_an_image_that_is_not_there_is_told(image: Image) -> None:
    with pytest.raises(SpecError, match="'iris:2' is neither a file nor an image that the engine has"):
        image_facts("iris:2")
