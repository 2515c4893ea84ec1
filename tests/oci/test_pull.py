"""What is pulled has the bytes of its digest, or nothing is there and one error says why."""

from copy import deepcopy
from pathlib import Path

import pytest
from faulty_registry import Fault, Faulty
from registries import SIZES, Served, add_image
from told import Told

from onnxpack.core.errors import EngineError
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor, Index, Platform
from onnxpack.oci.pull import choose_platform, pull, resolve
from onnxpack.oci.push import push
from onnxpack.oci.reference import parse_reference

PLATFORM = "linux/amd64"


@pytest.fixture(scope="module")
def image(registry: Served, tmp_path_factory: pytest.TempPathFactory) -> Descriptor:
    """An image in the registry, as ``team/pulled:1``."""
    layout = Layout(tmp_path_factory.mktemp("pushed"))
    entry = add_image(layout, 100)
    push(layout, entry, [parse_reference(f"{registry.host}/team/pulled:1")], Told())
    return entry


def list_blobs(layout: Layout) -> list[Path]:
    return [path for path in layout.root.rglob("*") if path.is_file()]


def test_a_pull_brings_an_image_whole(registry: Served, image: Descriptor, layout: Layout, told: Told) -> None:
    reference = parse_reference(f"{registry.host}/team/pulled:1")
    assert pull(reference, PLATFORM, layout, told) == image
    manifest = layout.read_manifest(image)
    assert all(layout.has(blob.digest) for blob in (manifest.config, *manifest.layers))
    assert [blob.size for blob in manifest.layers] == list(SIZES)
    assert f"fetching 3 blobs of {registry.host}/team/pulled, 245.8 kB" in told.lines


def test_blobs_that_are_there_are_not_fetched(registry: Served, image: Descriptor, layout: Layout, told: Told) -> None:
    reference = parse_reference(f"{registry.host}/team/pulled:1")
    pull(reference, PLATFORM, layout, told)
    layout.path(layout.read_manifest(image).layers[0].digest).unlink()
    fetches = r"^GET /v2/team/pulled/blobs"
    before = len(registry.requests(fetches))
    assert pull(reference, PLATFORM, Layout(layout.root), told) == image
    assert len(registry.requests(fetches)) == before + 1
    assert pull(reference.at(image.digest), PLATFORM, layout, told) == image
    assert len(registry.requests(fetches)) == before + 1


@pytest.mark.case("B5")
@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        ([Fault("GET /v2/.*/manifests", "429 Retry-After 3", times=4)], 3),
        ([Fault("GET /v2/.*/blobs", "503 Retry-After 4"), Fault("GET /v2/.*/manifests", "500")], 4),
        ([Fault("GET /v2/.*/blobs", "reset", times=2)], 0),
        ([Fault("GET /v2/.*/blobs", "cut 17", times=4)], 0),
        ([Fault("GET /v2/.*/blobs", "cut 17", times=4), Fault("GET /v2/.*/blobs", "whole")], 0),
        ([Fault("GET /v2/.*/manifests", "cut 17"), Fault("GET /v2/.*/manifests", "cut 400")], 0),
    ],
)
@pytest.mark.usefixtures("image")
def test_a_pull_survives_what_passes(
    proxy: Faulty, image: Descriptor, layout: Layout, told: Told, waits: list[float], faults: list[Fault], asked: float
) -> None:
    proxy.faults = deepcopy(faults)
    assert pull(parse_reference(f"{proxy.host}/team/pulled:1"), PLATFORM, layout, told) == image
    assert all(layout.has(blob.digest) for blob in layout.read_manifest(image).layers)
    assert max(waits) == asked
    assert not any(fault.times for fault in proxy.faults)


def test_a_download_goes_on_where_it_stopped(proxy: Faulty, image: Descriptor, layout: Layout, told: Told) -> None:
    manifest = resolve(parse_reference(f"{proxy.host}/team/pulled:1"), PLATFORM).manifest
    largest = manifest.layers[-1].digest
    proxy.faults = [Fault(largest, "cut 100000"), Fault(largest, "cut 50000")]
    pull(parse_reference(f"{proxy.host}/team/pulled:1"), PLATFORM, layout, told)
    ranges = [headers.get("Range") for _, path, headers in proxy.seen if path.endswith(largest)]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.case("B4")
@pytest.mark.parametrize(
    ("fault", "words", "hint", "requests"),
    [
        (Fault("GET", "401", 99), "401 Unauthorized", "docker login", 1),
        (Fault("GET", "403", 99), "403 Forbidden", "docker login", 1),
        (Fault("GET", "404", 99), "404 Not Found", "repository and tag", 1),
        (Fault("GET", "500", 99), "500 Internal Server Error", "try again", 5),
        (Fault("GET", "429 Retry-After 1", 99), "429 Too Many Requests", "try again", 5),
        (Fault("GET", "599", 99), "599", "log", 1),
        (Fault("GET", "body {}", 99), "was asked for|manifest is none", "", 1),
        (Fault("GET", "body <html>", 99), "a document of an image is none: Expecting", "", 1),
        (Fault("GET /v2/.*/manifests", "say Docker-Content-Digest sha256:0", 99), "sha256:0 the registry says", "", 1),
        (Fault("GET /v2/.*/manifests", "say Content-Length 99999", 99), "the connection broke", "try again", 5),
        (Fault("GET /v2/.*/blobs", "404", 99), "404 Not Found", "repository and tag", 1),
        (Fault("GET /v2/.*/blobs", "body x", 99), "the answer ended after|what came has the digest", "", 9),
        (Fault("GET /v2/.*/blobs", "body " + 900 * "x", 99), "more than the [0-9]+ bytes of sha256:", "changes", 9),
        (Fault("GET /v2/.*/blobs", "reset", 99), "the connection to 127.0.0.1:[0-9]+ broke", "try again", 5),
        (Fault("GET /v2/.*/blobs", "die"), "Connection refused|reset", "try again", 5),
    ],
)
@pytest.mark.usefixtures("image")
def test_a_pull_that_goes_wrong_is_an_error_and_leaves_no_blob(
    proxy: Faulty, layout: Layout, told: Told, fault: Fault, words: str, hint: str, requests: int
) -> None:
    proxy.faults = [deepcopy(fault)]
    with pytest.raises(EngineError, match=words) as failed:
        pull(parse_reference(f"{proxy.host}/team/pulled:1"), PLATFORM, layout, told)
    (problem,) = failed.value.problems
    assert hint in problem.hint
    assert f"{proxy.host}/team/pulled" in problem.message
    assert proxy.count(fault.of) <= requests
    assert list_blobs(layout) == []


@pytest.mark.usefixtures("image")
def test_blobs_with_other_bytes_than_their_digest_are_not_kept(
    registry: Served, layout: Layout, told: Told, tmp_path: Path
) -> None:
    other = Layout(tmp_path / "other")
    entry = add_image(other, 101)
    reference = parse_reference(f"{registry.host}/team/changed:1")
    push(other, entry, [reference], told)
    layer = other.read_manifest(entry).layers[1]
    path = registry.find_blobs()[layer.digest]
    path.write_bytes(b"x" * layer.size)
    with pytest.raises(EngineError, match=f"the blob {layer.digest}.* has the digest sha256:"):
        pull(reference, PLATFORM, layout, told)
    assert not layout.has(layer.digest)
    assert layout.list_names() == {}


@pytest.mark.usefixtures("image")
def test_an_image_for_another_platform_is_refused(registry: Served, layout: Layout, told: Told) -> None:
    with pytest.raises(EngineError, match="is for linux/amd64, and linux/arm64 is wanted"):
        pull(parse_reference(f"{registry.host}/team/pulled:1"), "linux/arm64", layout, told)


def make_index(*platforms: str) -> Index:
    entries = [
        Descriptor("x", f"sha256:{number:064d}", 1, Platform(*platform.split("/")))
        for number, platform in enumerate(platforms)
    ]
    return Index((*entries, Descriptor("x", f"sha256:{99:064d}", 1)))


@pytest.mark.parametrize(
    ("platforms", "wanted", "number"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", 1),
        (["linux/arm64/v8", "linux/amd64"], "linux/arm64", 0),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3", 1),
        (["linux/amd64"], "linux/amd64/v3", 0),
        (["windows/amd64", "linux/amd64/v1"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
    ],
)
def test_the_image_for_a_platform_is_chosen(platforms: list[str], wanted: str, number: int) -> None:
    found = choose_platform(make_index(*platforms), Platform(*wanted.split("/")), parse_reference("a"))
    assert found.digest == f"sha256:{number:064d}"


def test_an_index_without_the_platform_names_those_that_it_has() -> None:
    index = make_index("linux/s390x", "unknown/unknown", "linux/amd64/v3")
    with pytest.raises(EngineError, match="is not for linux/amd64") as refused:
        choose_platform(index, Platform("linux", "amd64"), parse_reference("a"))
    assert refused.value.problems[0].hint == "it is for linux/amd64/v3, linux/s390x"
