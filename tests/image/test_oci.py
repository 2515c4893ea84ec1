"""The engine without a daemon: the same context on the same base gives the same image, wherever it is put together."""

import json
from pathlib import Path

import pytest
from registries import running_registry
from small_images import BASE, make_context, save_base

from onnxpack.bundle.context import Context
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.progress import SilentProgress
from onnxpack.image import ARCHIVE
from onnxpack.image.deliver import push_image
from onnxpack.image.engine import BuildRequest, Image
from onnxpack.image.oci import OciEngine
from onnxpack.oci.archive import open_archive
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import read_json


@pytest.fixture
def engine(tmp_path: Path) -> OciEngine:
    return OciEngine(Layout(tmp_path / "images"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save_base(tmp_path / "base.tar")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path / "context")


def build(engine: OciEngine, context: Context, base: Image, name: str = "iris:1", compression: str = "gzip") -> Image:
    image = engine.build(BuildRequest(context, base, name, compression))
    engine.tag(image.id, name)
    return image


def test_an_image_has_the_layers_of_its_base_and_two_more(engine: OciEngine, archive: Path, context: Context) -> None:
    base = engine.add_base(archive, BASE, "linux/amd64")
    image = build(engine, context, base)
    assert image.layers[0] == base.layers[0]
    assert [layer.created_by for layer in image.layers] == [
        "ADD base",
        "COPY rootfs/runtime/ /",
        "COPY rootfs/model/ /",
    ]
    assert [layer.size_bytes for layer in image.layers] == [3, 5, 5]
    assert image.size_bytes == 13
    assert image.labels == {"team": "risk"}
    assert image.platform == "linux/amd64"
    assert engine.find("iris:1") == engine.find(image.id) == image


@pytest.mark.case("R1")
def test_the_same_context_gives_the_same_digest_in_another_place(
    engine: OciEngine, archive: Path, context: Context, tmp_path: Path
) -> None:
    other = OciEngine(Layout(tmp_path / "other"))
    again = make_context(tmp_path / "again")
    images = {
        build(one, of, one.add_base(archive, BASE, "linux/amd64"), "iris:2").digest
        for one, of in ((engine, context), (engine, again), (other, again))
    }
    assert len(images) == 1


def test_another_model_shares_all_but_its_own_layer(
    engine: OciEngine, archive: Path, context: Context, tmp_path: Path
) -> None:
    base = engine.add_base(archive, BASE, "linux/amd64")
    one, other = build(engine, context, base), build(engine, make_context(tmp_path / "b", "other"), base, "iris:2")
    assert one.layers[:2] == other.layers[:2]
    assert one.layers[2] != other.layers[2]
    assert one.id != other.id


def test_compression_changes_the_manifest_and_not_the_image(engine: OciEngine, archive: Path, context: Context) -> None:
    base = engine.add_base(archive, BASE, "linux/amd64")
    plain, small = build(engine, context, base), build(engine, context, base, "iris:2", "zstd")
    assert plain.id != small.id
    assert plain.layers == small.layers
    engine.tag(small.id, "iris:3")
    assert engine.find("iris:3") == small
    assert (plain.compression, small.compression) == ("gzip", "zstd")


def test_names_are_given_and_taken_away(engine: OciEngine, archive: Path, context: Context) -> None:
    image = build(engine, context, engine.add_base(archive, BASE, "linux/amd64"))
    engine.tag(image.id, "team/iris:2")
    engine.untag("iris:1")
    engine.untag("iris:never")
    assert engine.find("iris:1") is None
    assert engine.find("docker.io/team/iris:2") == image
    with pytest.raises(EngineError, match="is no longer in"):
        engine.tag("sha256:" + "0" * 64, "iris:3")


@pytest.mark.case("B8")
def test_an_image_that_lacks_a_part_is_none_and_is_put_together_again(
    engine: OciEngine, archive: Path, context: Context
) -> None:
    image = build(engine, context, engine.add_base(archive, BASE, "linux/amd64"))
    manifest = engine.layout.read_manifest(engine.export(image.id, "gzip")[1])
    engine.layout.path(manifest.layers[-1].digest).write_bytes(b"damaged")
    another = OciEngine(Layout(engine.layout.root))
    assert another.find("iris:1") is None
    base = another.require_base(BASE, "linux/amd64", SilentProgress())
    assert build(another, context, base) == image


def test_a_base_is_taken_for_its_platform_alone(engine: OciEngine, archive: Path) -> None:
    base = engine.add_base(archive, BASE, "linux/amd64")
    assert engine.require_base(BASE, "linux/amd64", SilentProgress()) == base
    with pytest.raises(EngineError, match=r"the base image .* cannot be fetched"):
        engine.require_base(BASE, "linux/arm64", SilentProgress())
    with pytest.raises(SpecError, match="an image for linux/amd64, and the target is for linux/arm64"):
        engine.add_base(archive, BASE, "linux/arm64")


def test_a_base_comes_from_its_registry_by_tag_and_by_digest(engine: OciEngine, archive: Path, tmp_path: Path) -> None:
    given = engine.add_base(archive, BASE, "linux/amd64")
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/bases/python"
        (pushed,) = push_image(engine, given.id, (f"{name}:3.11",), SilentProgress())
        for number, reference in enumerate((f"{name}:3.11", pushed)):
            other = OciEngine(Layout(tmp_path / f"other-{number}"))
            base = other.require_base(reference, "linux/amd64", SilentProgress())
            assert (base.id, base.digest, base.layers[0].digest) == (given.id, given.digest, given.layers[0].digest)
            assert other.find(base.id) == base
        fetches = len(registry.requests("GET"))
        assert other.require_base(pushed, "linux/amd64", SilentProgress()) == base
        assert len(registry.requests("GET")) == fetches


def test_a_base_that_would_run_more_than_layers_is_refused(engine: OciEngine, tmp_path: Path, context: Context) -> None:
    base = engine.add_base(save_base(tmp_path / "odd.tar", OnBuild=["RUN rm -r /"]), BASE, "linux/amd64")
    with pytest.raises(EngineError, match="ONBUILD"):
        build(engine, context, base)
    assert engine.find("iris:1") is None


def test_what_is_left_is_an_archive_with_the_names(
    engine: OciEngine, archive: Path, context: Context, tmp_path: Path
) -> None:
    image = build(engine, context, engine.add_base(archive, BASE, "linux/amd64"))
    assert engine.leave(image.id, ["iris:1", "iris:1.0"], tmp_path) == ARCHIVE
    with open_archive(tmp_path / ARCHIVE) as left:
        (docker,) = json.loads(left.read_file("manifest.json"))
        assert docker["RepoTags"] == ["iris:1", "iris:1.0"]
        assert left.has(image.id)
        assert read_json(left.read_file(docker["Config"]))["config"]["Entrypoint"] == ["python3", "-m", "server"]


def test_a_gpu_is_refused(engine: OciEngine, archive: Path) -> None:
    base = engine.add_base(archive, BASE, "linux/amd64")
    assert not engine.has_gpu()
    with (
        pytest.raises(EngineError, match="no container without a daemon is given a GPU"),
        engine.container(base.id, {}, gpu=True),
    ):
        pass
