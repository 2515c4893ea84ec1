"""Both engines make the same image of the same spec and base: the same files, and the same configuration."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_images import Saved, list_arguments, read_image, save
from e2e_tools import LABEL, Built, Workshop, without_leftovers

SPECS = ("iris", "transactions", "bare")
TIMES = {"created", "container", "container_config", "docker_version", "history"}
"""What Docker alone writes, or otherwise: when, how and by which version steps were made; no container sees it."""
UNSET = {
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Cmd",
    "Volumes", "OnBuild",
}  # fmt: skip
"""Settings of containers that Docker writes into every image; they must be empty."""
STEP = "Image"
"""The id of the image before the last instruction, which Docker keeps among the settings."""


@pytest.fixture(scope="session")
def bare(workshop: Workshop, engine: Any) -> Built:
    """An image without a server, by the Docker engine."""
    spec = workshop.copy("iris", "bare", runtime={"server": "none"})
    spec.with_suffix(".lock").unlink()  # it has the server's packages
    return workshop.build(spec, workshop.root / "dist-bare", "--engine", "docker", "--until", "image")


@pytest.fixture(scope="session")
def pairs() -> dict[str, tuple[Saved, Saved]]:
    """Images that were read already; empty at first."""
    return {}


@pytest.fixture(params=SPECS)
def pair(
    request: pytest.FixtureRequest,
    workshop: Workshop,
    engine: Any,
    base_archive: Path,
    pairs: dict[str, tuple[Saved, Saved]],
) -> tuple[Saved, Saved]:
    """One spec's image by the Docker engine and by the one without a daemon."""
    name = request.param
    if name not in pairs:
        docker: Built = request.getfixturevalue(name)
        output = workshop.root / f"dist-oci-{name}"
        alone = workshop.build(docker.spec, output, *list_arguments(base_archive), "--until", "image")
        pairs[name] = read_image(save(engine, docker.reference, workshop)), read_image(alone.output / "image.tar")
    return pairs[name]


def test_both_engines_give_the_same_files(pair: tuple[Saved, Saved]) -> None:
    docker, alone = pair
    assert len(docker.layers) == len(alone.layers) == 3
    for one, other in zip(docker.layers, alone.layers, strict=True):
        assert {name: (one.get(name), other.get(name)) for name in one.keys() ^ other.keys()} == {}
        assert [(name, one[name], other[name]) for name in one if one[name] != other[name]] == []
    assert docker.files == alone.files
    assert "opt/onnxpack/app/model.onnx" in alone.files


def test_both_engines_give_the_same_configuration(pair: tuple[Saved, Saved]) -> None:
    docker, alone = (saved.config for saved in pair)
    settings = docker["config"]
    assert {name: settings[name] for name in UNSET if settings.get(name)} == {}
    ours = {name: value for name, value in settings.items() if name not in UNSET | {STEP}}
    assert {name: value for name, value in alone["config"].items() if value != ours.get(name)} == {}
    assert {name: value for name, value in ours.items() if value != alone["config"].get(name)} == {}
    assert list(alone["config"]["Env"]) == list(settings["Env"])  # also in this order
    same = (docker.keys() | alone.keys()) - TIMES - {"config", "rootfs"}
    assert same == {"architecture", "os"}
    assert {name: docker[name] for name in same} == {name: alone[name] for name in same}
    steps = [[step for step in config["history"] if not step.get("empty_layer")] for config in (docker, alone)]
    assert [len(found) for found in steps] == [3, 3]


def test_an_image_without_a_daemon_has_no_time(pair: tuple[Saved, Saved]) -> None:
    _, alone = pair
    assert alone.config["created"] == "1980-01-01T00:00:00Z"
    assert {step["created"] for step in alone.config["history"][-2:]} == {"1980-01-01T00:00:00Z"}
    assert {entry.mtime for layer in alone.layers[-2:] for entry in layer.values()} == {315532800}


def test_a_second_build_by_docker_gives_the_same_layers_and_goes(bare: Built, workshop: Workshop, engine: Any) -> None:
    before = set(engine.images(quiet=True, all=True))
    output = workshop.root / "dist-bare"
    again = workshop.build(bare.spec, output, "--engine", "docker", "--verify-reproducible")
    assert again.report["reproduction"] == {"compared": "layers", "digest": " ".join(bare.layers)}
    assert without_leftovers(engine, workshop.token) >= set(again.report["image"]["references"])
    assert set(engine.images(quiet=True, all=True)) == before


def test_docker_load_gives_the_same_image(daemonless: Built, engine: Any) -> None:
    with (daemonless.output / "image.tar").open("rb") as stream:
        for event in engine.load_image(stream):
            assert "error" not in event
    image = read_image(daemonless.output / "image.tar")
    for reference in daemonless.report["image"]["references"]:
        facts = engine.inspect_image(reference)
        # Docker's own store calls an image by its configuration, that of containerd by its manifest.
        assert facts["Id"] in (image.config_digest, image.manifest_digest)
        assert facts["RootFS"]["Layers"] == daemonless.layers


def test_skopeo_reads_the_archive(daemonless: Built, workshop: Workshop, tmp_path: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    image, path = daemonless.report["image"], daemonless.output / "image.tar"
    place = f"{path}:{image['references'][0]}"
    told = _ask_skopeo("inspect", f"oci-archive:{place}")
    assert (told["Digest"], told["Created"]) == (image["digest"], "1980-01-01T00:00:00Z")
    assert told["Labels"][LABEL] == workshop.token
    # And as an archive of `docker save`: what it copies from there has the same configuration and layers.
    _ask_skopeo("copy", f"docker-archive:{place}", f"dir:{tmp_path}/copy")
    saved = read_image(path)
    copied = {f"sha256:{found.name}" for found in (tmp_path / "copy").iterdir() if len(found.name) == 64}
    assert copied == {saved.config_digest, *saved.diff_ids}


def _ask_skopeo(*arguments: str) -> Any:
    ended = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout) if arguments[0] == "inspect" else None


def test_the_compression_changes_nothing_but_the_blobs(
    daemonless: Built, workshop: Workshop, base_archive: Path
) -> None:
    spec = workshop.copy("iris", "daemonless-zstd", image={"repository": workshop.repository("daemonless/iris")})
    options = (*list_arguments(base_archive), "--compression", "zstd", "--until", "image")
    gzipped, zstd = (
        read_image(built.output / "image.tar")
        for built in (daemonless, workshop.build(spec, workshop.root / "dist-zstd", *options))
    )
    layer = "application/vnd.oci.image.layer.v1.tar"
    assert gzipped.media_types[-2:] == (f"{layer}+gzip",) * 2
    assert zstd.media_types[-2:] == (f"{layer}+zstd",) * 2
    assert zstd.diff_ids == gzipped.diff_ids
    assert zstd.config == gzipped.config
    assert zstd.manifest_digest != gzipped.manifest_digest
