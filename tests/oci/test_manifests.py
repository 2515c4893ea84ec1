"""Manifests and indexes: what is written is read again, and what is none is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.core.errors import EngineError
from onnxpack.oci.manifests import (
    CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    compute_digest,
    read_document,
    write_document,
)

BLOB = Descriptor(f"{LAYER}+gzip", compute_digest(b"layer"), 5)
IMAGE = Manifest(Descriptor(CONFIG, compute_digest(b"{}"), 2), (BLOB,), {"a": "b"})
SEVERAL = Index(
    (
        Descriptor(MANIFEST, compute_digest(b"one"), 3, Platform("linux", "amd64"), {"z": "1", "a": "2"}),
        Descriptor(MANIFEST, compute_digest(b"two"), 3, Platform("linux", "arm64", "v8")),
    )
)


@pytest.mark.parametrize("document", [IMAGE, SEVERAL])
def test_a_document_is_read_as_it_was_written(document: Manifest | Index) -> None:
    data = write_document(document)
    assert read_document(data) == document
    assert write_document(read_document(data)) == data


def test_a_document_of_docker_is_read_by_the_type_that_its_sender_says() -> None:
    text = json.loads(write_document(IMAGE))
    del text["mediaType"]
    read = read_document(json.dumps(text).encode(), DOCKER_MANIFEST)
    assert isinstance(read, Manifest)
    assert read.media_type == DOCKER_MANIFEST
    text = json.loads(write_document(SEVERAL)) | {"mediaType": DOCKER_INDEX}
    assert read_document(json.dumps(text).encode()) == SEVERAL


def _change(**values: Any) -> bytes:
    return json.dumps(json.loads(write_document(IMAGE)) | values).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b" " * (5 * 2**20),
        _change(mediaType="application/vnd.docker.distribution.manifest.v1+json"),
        _change(layers=None), _change(layers=[{}]), _change(config=7), _change(layers={}),
        _change(config={"mediaType": CONFIG, "size": -1, "digest": BLOB.digest}),
        _change(config={"mediaType": CONFIG, "size": True, "digest": BLOB.digest}),
        _change(config={"mediaType": CONFIG, "size": 2, "digest": "sha256:../../x"}),
        _change(config={"mediaType": CONFIG, "size": 2, "digest": "md5:00"}),
        _change(layers=[0] * 20_000),
        _change(mediaType=INDEX),
        _change(annotations=[1]),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(EngineError, match="is none"):
        read_document(data)


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (f"{LAYER}+gzip", "gzip"),
        (f"{LAYER}+zstd", "zstd"),
        (LAYER, ""),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"),
        ("application/vnd.docker.image.rootfs.diff.tar", ""),
    ],
)
def test_the_compression_of_a_layer_is_read_from_its_type(media_type: str, compression: str) -> None:
    assert Descriptor(media_type, BLOB.digest, 5).compression == compression


def test_what_is_no_layer_has_no_compression() -> None:
    with pytest.raises(EngineError, match="a layer has the media type 'text/plain'"):
        _ = Descriptor("text/plain", BLOB.digest, 5).compression


def test_a_platform_is_written_as_the_spec_has_it() -> None:
    assert [str(entry.platform) for entry in SEVERAL.manifests] == ["linux/amd64", "linux/arm64"]
    assert str(Platform("linux", "arm", "v7")) == "linux/arm/v7"


@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)))
def test_a_part_of_any_form_is_read_or_refused(value: Any) -> None:
    for key in ("schemaVersion", "mediaType", "config", "layers", "manifests", "annotations"):
        try:
            found = read_document(_change(**{key: value}))
        except EngineError:
            continue
        assert isinstance(found, Manifest | Index)
