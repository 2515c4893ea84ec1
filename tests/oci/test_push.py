"""A push sends what is missing, survives what passes, and is never taken for done when it is not."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_registry import Fault, Faulty
from registries import Served, add_image
from told import Told

from onnxpack.core.digests import digest
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import MANIFEST, Index, Platform, write_document
from onnxpack.oci.pull import pull, resolve
from onnxpack.oci.push import push, push_index
from onnxpack.oci.reference import ImageReference, parse_reference

UPLOADS = r"^(POST|PATCH|PUT) /v2/{}/blobs"


def name(host: str, repository: str = "team/iris", tag: str = "1") -> ImageReference:
    return parse_reference(f"{host}/{repository}:{tag}")


def test_a_second_push_of_an_unchanged_image_sends_nothing(registry: Served, layout: Layout, told: Told) -> None:
    image = add_image(layout, 1)
    names = [name(registry.host, "twice/iris", tag) for tag in ("1", "latest")]
    assert push(layout, image, names, told) == image.digest
    sent = registry.requests("^(POST|PATCH|PUT) /v2/twice/iris/")
    assert len(sent) == 10, "each of four blobs takes a POST and a PUT, and each of two tags a PUT"
    assert push(layout, image, names, told) == image.digest
    assert registry.requests("^(POST|PATCH|PUT) /v2/twice/iris/") == sent
    assert "all blobs are there" in told.lines[-1]
    assert [resolve(pushed, "linux/amd64").digest for pushed in names] == [image.digest] * 2


def test_a_push_after_a_change_sends_what_changed(registry: Served, layout: Layout, told: Told) -> None:
    first, second = add_image(layout, 2), add_image(layout, 3)
    push(layout, first, [name(registry.host, "changed")], told)
    before = len(registry.requests(UPLOADS.format("changed")))
    manifest = layout.read_manifest(second)
    mixed = replace(manifest, layers=(*manifest.layers[:2], layout.read_manifest(first).layers[-1]))
    push(layout, layout.add(write_document(mixed), MANIFEST), [name(registry.host, "changed")], told)
    assert len(registry.requests(UPLOADS.format("changed"))) - before == 6


def test_layers_of_a_base_on_the_same_registry_are_not_sent(registry: Served, layout: Layout, told: Told) -> None:
    base = name(registry.host, "bases/python")
    image = add_image(layout, 4, base=str(base))
    push(layout, image, [base], told)
    push(layout, image, [name(registry.host, "mounted")], told)
    assert registry.requests(UPLOADS.format("mounted")) == ["POST /v2/mounted/blobs/uploads/ 201"] * 4


@pytest.mark.parametrize(
    "base", ["HOST/bases/none:1", "registry.example.com/bases/python:1", "", "NONE:", "HOST/sent:1"]
)
def test_a_base_that_the_registry_does_not_have_is_sent(
    registry: Served, layout: Layout, told: Told, base: str
) -> None:
    image = add_image(layout, 5, base=base.replace("HOST", registry.host))
    to = name(registry.host, f"sent/{digest(base)[:12]}")
    push(layout, image, [to], told)
    assert len(registry.requests(UPLOADS.format(to.repository))) == 8
    assert resolve(to, "linux/amd64").digest == image.digest


def test_an_index_is_pushed_with_its_images(registry: Served, layout: Layout, told: Told, tmp_path: Path) -> None:
    images = {platform: add_image(layout, 6, platform) for platform in ("linux/amd64", "linux/arm64")}
    of = {platform: Platform(*platform.split("/")) for platform in images}
    index = Index(tuple(replace(image, platform=of[platform]) for platform, image in images.items()))
    to = name(registry.host, "several")
    digest = push_index(layout, index, [to], told)
    for platform, image in images.items():
        found = resolve(to, platform)
        assert (found.digest, found.entry.digest) == (digest, image.digest)
        assert pull(to, platform, Layout(tmp_path / "pulled"), told) == image


def test_a_reference_by_digest_is_of_the_image_or_refused(registry: Served, layout: Layout, told: Told) -> None:
    image = add_image(layout, 7)
    to = name(registry.host, "by/digest").at(image.digest)
    assert push(layout, image, [to], told) == image.digest
    assert resolve(to, "linux/amd64").digest == image.digest
    with pytest.raises(SpecError, match="is not the image sha256:"):
        push(layout, add_image(layout, 8), [to], told)


@pytest.mark.case("B5")
@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        ([Fault("HEAD", "429 Retry-After 7")], 7),
        ([Fault("POST", "503 Retry-After 9")], 9),
        ([Fault("POST", "500", times=3)], 0),
        ([Fault("PUT /v2/.*/manifests", "503 Retry-After 2", times=4)], 2),
        ([Fault("PATCH", "503", times=2), Fault("PUT /v2/.*/uploads", "502")], 0),
        ([Fault("GET /v2/.*/manifests", "504"), Fault("GET /v2/.*/manifests", "cut 9", skip=1)], 0),
        ([Fault("PATCH", "reset"), Fault("PUT", "reset"), Fault("HEAD", "reset"), Fault("POST", "reset")], 0),
        ([Fault("PUT /v2/.*/uploads", "deaf"), Fault("PUT /v2/.*/manifests", "deaf")], 0),
        ([Fault("PATCH", "take 30000")], 0),
        ([Fault("PATCH", "take 30000", skip=1), Fault("PATCH", "deaf", skip=1)], 0),
        ([Fault("PATCH", "404")], 0),
        ([Fault("PATCH", "404", times=9, skip=1)], 0),
        ([Fault("PATCH", "416")], 0),
        ([Fault("PATCH", "400", times=9)], 0),
        ([Fault("PATCH", "416", times=9)], 0),
    ],
)
def test_a_push_survives_what_passes(
    proxy: Faulty, layout: Layout, told: Told, waits: list[float], faults: list[Fault], asked: float
) -> None:
    image = add_image(layout, 10)
    proxy.faults = deepcopy(faults)
    to = name(proxy.host, f"passes/{digest(str(faults))[:12]}")
    assert push(layout, image, [to], told) == image.digest
    proxy.faults = []
    assert resolve(to, "linux/amd64").data == layout.read(image.digest)
    assert max(waits, default=0) == asked
    assert len(waits) <= sum(fault.times for fault in faults) + 2


def test_an_upload_goes_on_where_it_stopped(proxy: Faulty, layout: Layout, told: Told) -> None:
    image = add_image(layout, 11)
    proxy.faults = [Fault("PATCH", "take 30000", skip=1)]
    push(layout, image, [name(proxy.host, "resumed")], told)
    ranges = [headers["Content-Range"] for method, _, headers in proxy.seen if method == "PATCH"]
    assert ranges == ["0-65535", "65536-131071", "95536-161071", "161072-184319"]


@pytest.mark.case("B4")
@pytest.mark.parametrize(
    ("fault", "words", "hint", "requests"),
    [
        (Fault("HEAD", "401", 99), "401 Unauthorized", "docker login", 4),
        (Fault("POST", "401", 99), "401 Unauthorized", "docker login", 3),
        (Fault("POST", "403", 99), "403 Forbidden", "docker login", 3),
        (Fault("POST", "404", 99), "404 Not Found", "created first", 3),
        (Fault("PATCH", "413", 99), "413 ", "client_max_body_size", 1),
        (Fault("PUT /v2/.*/uploads", "400", 99), "400 Bad Request", "log", 3),
        (Fault("PUT /v2/.*/manifests", "404", 99), "404 Not Found", "created first", 1),
        (Fault("PUT /v2/.*/manifests", "500", 99), "500 Internal Server Error", "try again", 5),
        (Fault("PUT /v2/.*/manifests", "429", 99), "429 Too Many Requests", "try again", 5),
        (Fault("PUT /v2/.*/manifests", "reset", 99), "the connection to 127.0.0.1", "try again", 5),
        (Fault("PUT /v2/.*/manifests", "swallow", 99), "404 Not Found", "names", 1),
        (Fault("GET /v2/.*/manifests/1", "404", 99), "404 Not Found", "names", 1),
        (Fault("GET /v2/.*/manifests", "cut 20", 99), "the connection broke", "try again", 5),
        (Fault("GET /v2/.*/manifests", "body {}", 99), "was asked for", "changes what it sends", 1),
        (Fault("GET /v2/.*/manifests", "say Docker-Content-Digest sha256:0", 99), "the registry says", "try again", 1),
        (Fault("PUT /v2/.*/uploads", "say Docker-Content-Digest sha256:0", 99), "instead of the blob", "log", 3),
    ],
)
def test_a_push_that_a_registry_refuses_is_an_error(
    proxy: Faulty, layout: Layout, told: Told, fault: Fault, words: str, hint: str, requests: int
) -> None:
    image = add_image(layout, 12)
    proxy.faults = [deepcopy(fault)]
    with pytest.raises(EngineError) as refused:
        push(layout, image, [name(proxy.host, f"refused/{digest(str(fault))[:12]}")], told)
    (problem,) = refused.value.problems
    assert f"{proxy.host}/refused/" in problem.message
    assert words in problem.message
    assert hint in problem.hint
    assert proxy.count(fault.of) <= requests


@pytest.mark.case("B4")
def test_a_registry_that_has_other_bytes_of_a_blob_is_an_error(proxy: Faulty, layout: Layout, told: Told) -> None:
    image = add_image(layout, 13)
    push(layout, image, [name(proxy.host, "short")], told)
    proxy.faults = [Fault("HEAD", "say Content-Length 3")]
    with pytest.raises(EngineError, match="has 3 bytes under sha256:"):
        push(layout, image, [name(proxy.host, "short")], told)


@pytest.mark.case("B4")
@pytest.mark.parametrize("of", ["HEAD", "POST", "PATCH", "PUT /v2/.*/uploads", "PUT /v2/.*/manifests", "GET"])
def test_a_registry_that_dies_in_the_middle_is_an_error(proxy: Faulty, layout: Layout, told: Told, of: str) -> None:
    image = add_image(layout, 14)
    repository = f"dies/{digest(of)[:12]}"
    proxy.faults = [Fault(of, "die")]
    with pytest.raises(EngineError) as died:
        push(layout, image, [name(proxy.host, repository)], told)
    (problem,) = died.value.problems
    assert f"cannot push to {proxy.host}/{repository}: " in problem.message or of == "GET"
    assert "Connection refused" in problem.message
    there = ImageReference(proxy.upstream, repository, "1")
    if of == "GET":  # all of it is there, but nobody has seen it
        assert resolve(there, "linux/amd64").digest == image.digest
    else:
        with pytest.raises(EngineError, match="404 Not Found"):
            resolve(there, "linux/amd64")
    proxy.dead = False
    assert push(layout, image, [there], told) == image.digest


@pytest.mark.case("B4")
def test_a_source_that_lacks_bytes_is_an_error(registry: Served, layout: Layout, told: Told) -> None:
    image = add_image(layout, 15)
    layer = layout.read_manifest(image).layers[-1]
    path = layout.path(layer.digest)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineError, match="is cut short"):
        push(layout, image, [name(registry.host, "cut")], told)
    path.write_bytes(b"x" * layer.size)
    with pytest.raises(EngineError, match="400 Bad Request \\(DIGEST_INVALID"):
        push(layout, image, [name(registry.host, "cut")], told)
    path.unlink()
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        push(layout, image, [name(registry.host, "cut")], told)


def test_nothing_is_asked_twice_where_nothing_breaks(
    proxy: Faulty, layout: Layout, told: Told, waits: list[float]
) -> None:
    image = add_image(layout, 16)
    for _ in range(2):
        push(layout, image, [name(proxy.host, "once")], told)
    assert waits == []
    assert (proxy.count("HEAD"), proxy.count("POST"), proxy.count("PUT /v2/.*/uploads")) == (10, 4, 4)
